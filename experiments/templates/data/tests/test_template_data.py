"""The data set keeps the contract of VoxNAS in 2D and 3D, with its own folds and with new ones."""

from functools import partial

import pytest
from nas.data import Split
from nas.testing import check_data

from template_data import TemplateSource


@pytest.mark.parametrize(("dims", "given"), [(3, True), (2, False)])
def test_the_data(dims: int, given: bool) -> None:
    check_data(TemplateSource(dims=dims), partial(Split, given=given))
