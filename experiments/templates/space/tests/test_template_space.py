"""The space keeps the contract of VoxNAS in 2D and 3D."""

import pytest
from nas.testing import check_space

from template_space import TemplateSpace


@pytest.mark.parametrize("input_shape", [(1, 16, 16, 16), (3, 32, 32)], ids=["3D", "2D"])
def test_the_space(input_shape: tuple[int, ...]) -> None:
    check_space(TemplateSpace(), input_shape)
