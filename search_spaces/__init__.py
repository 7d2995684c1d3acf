"""Search spaces; published networks are named points of them.

The exported classes are imported on first use, so that `import search_spaces` does not load PyTorch.
"""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from search_spaces.cascade import CascadeSpace as CascadeSpace
    from search_spaces.detector import DetectorSpace as DetectorSpace
    from search_spaces.dints.space import DiNTSSpace as DiNTSSpace
    from search_spaces.joint import JointSpace as JointSpace
    from search_spaces.naslung import NASLungSpace as NASLungSpace
    from search_spaces.nodule_patch import NodulePatchSpace as NodulePatchSpace
    from search_spaces.resnet3d import ResNet3DSpace as ResNet3DSpace
    from search_spaces.unet import UNetSpace as UNetSpace
    from search_spaces.unet_flexible import FlexibleUNetSpace as FlexibleUNetSpace

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "CascadeSpace": "search_spaces.cascade",
        "DetectorSpace": "search_spaces.detector",
        "DiNTSSpace": "search_spaces.dints.space",
        "FlexibleUNetSpace": "search_spaces.unet_flexible",
        "JointSpace": "search_spaces.joint",
        "NASLungSpace": "search_spaces.naslung",
        "NodulePatchSpace": "search_spaces.nodule_patch",
        "ResNet3DSpace": "search_spaces.resnet3d",
        "UNetSpace": "search_spaces.unet",
    },
)
