"""The task keeps the contract of VoxNAS in 2D and 3D, for two and for three classes."""

import pytest
from nas.testing import check_task

from template_task import TemplateTask


@pytest.mark.parametrize(("dims", "outputs"), [(3, 2), (2, 3)])
def test_the_task(dims: int, outputs: int) -> None:
    check_task(TemplateTask(dims=dims, outputs=outputs))
