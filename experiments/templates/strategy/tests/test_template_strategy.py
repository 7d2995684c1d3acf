"""The strategy keeps the contract of VoxNAS: searches with one and two objectives, with and without constraints."""

from nas.testing import check_strategy

from template_strategy import TemplateStrategy


def test_the_strategy() -> None:
    history = check_strategy(TemplateStrategy(), trials=25)
    assert len(history) == 25
