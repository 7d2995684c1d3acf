"""Data sets: reading images, preparing stores, splits and samples."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.data.loading import VolumeSet as VolumeSet
    from nas.data.sample import Sample as Sample
    from nas.data.source import Source as Source
    from nas.data.sources.brats import Brats as Brats
    from nas.data.sources.icbm_tissue import IcbmTissue as IcbmTissue
    from nas.data.sources.lidc_dicom import LidcDicom as LidcDicom
    from nas.data.sources.lidc_nodules import LidcNodules as LidcNodules
    from nas.data.sources.lidc_shapes import LidcShapes as LidcShapes
    from nas.data.sources.luna16 import Luna16 as Luna16
    from nas.data.sources.lung_pet_ct_dx import LungPetCtDx as LungPetCtDx
    from nas.data.sources.manifest import Manifest as Manifest
    from nas.data.sources.medmnist3d import MedMNIST3D as MedMNIST3D
    from nas.data.sources.msd import Msd as Msd
    from nas.data.sources.nodule_phantoms import NodulePhantoms as NodulePhantoms
    from nas.data.sources.prepared import PreparedStore as PreparedStore
    from nas.data.splits import Fold as Fold
    from nas.data.splits import Split as Split
    from nas.data.store import VolumeStore as VolumeStore
    from nas.data.transforms.augment import Augment as Augment

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Augment": "nas.data.transforms.augment",
        "Brats": "nas.data.sources.brats",
        "Fold": "nas.data.splits",
        "IcbmTissue": "nas.data.sources.icbm_tissue",
        "LidcDicom": "nas.data.sources.lidc_dicom",
        "LidcNodules": "nas.data.sources.lidc_nodules",
        "LidcShapes": "nas.data.sources.lidc_shapes",
        "Luna16": "nas.data.sources.luna16",
        "LungPetCtDx": "nas.data.sources.lung_pet_ct_dx",
        "Manifest": "nas.data.sources.manifest",
        "MedMNIST3D": "nas.data.sources.medmnist3d",
        "Msd": "nas.data.sources.msd",
        "NodulePhantoms": "nas.data.sources.nodule_phantoms",
        "PreparedStore": "nas.data.sources.prepared",
        "Sample": "nas.data.sample",
        "Source": "nas.data.source",
        "Split": "nas.data.splits",
        "VolumeSet": "nas.data.loading",
        "VolumeStore": "nas.data.store",
    },
)
