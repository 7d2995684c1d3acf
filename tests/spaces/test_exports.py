"""The names that the packages of spaces export, and that these are imported on first use only."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import search_spaces
import search_spaces.dints
from nas.space import SearchSpace


@pytest.mark.parametrize("package", [search_spaces, search_spaces.dints], ids=lambda package: package.__name__)
def test_every_export_is_the_space_of_that_name(package: object) -> None:
    for name in package.__all__:
        space = getattr(package, name)
        assert issubclass(space, SearchSpace)
        assert space.__name__ == name
        assert name in dir(package)
        assert importlib.util.find_spec(f"{package.__name__}.{name}") is None, "a submodule would hide the export"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'VGGSpace'"):
        _ = search_spaces.VGGSpace
    with pytest.raises(ImportError, match="VGGSpace"):
        from search_spaces.dints import VGGSpace  # noqa: F401


def test_importing_the_packages_does_not_load_torch() -> None:
    code = "import sys, search_spaces, search_spaces.dints; dir(search_spaces); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_detector_takes_its_backbone_by_the_exported_name() -> None:
    by_export = search_spaces.DetectorSpace("search_spaces.UNetSpace")
    assert by_export.backbone == "search_spaces.unet.UNetSpace"
    assert by_export.fingerprint == search_spaces.DetectorSpace("search_spaces.unet.UNetSpace").fingerprint
