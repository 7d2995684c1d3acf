"""Small scans written by the tests: a ball of known HU at a known world point, in lung tissue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

LUNG, NODULE, RIB = -850, 120, 700
STRAIGHT = (1, 0, 0, 0, 1, 0, 0, 0, 1)
PRONE = (-1, 0, 0, 0, -1, 0, 0, 0, 1)  # columns run to the right, rows to the front: LUNA16 has such scans
SAGITTAL = (0, 0, 1, 1, 0, 0, 0, 1, 0)
HEAD_DOWN = (1, 0, 0, 0, -1, 0, 0, 0, -1)


def ball(
    direction=STRAIGHT,
    spacing=(0.7, 0.7, 2.5),
    size=(96, 90, 44),
    origin=(-120.3, 55.1, -310.7),
    index=(41.3, 37.7, 20.4),
    radius_mm=8.0,
    rib_offset_mm=None,
):
    """An int16 image and the world point of its ball; with `rib_offset_mm`, a small bright cube that far away."""
    image = sitk.Image(size, sitk.sitkInt16)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    point = np.array(image.TransformContinuousIndexToPhysicalPoint(index))
    z, y, x = np.indices(size[::-1])
    index_xyz = np.stack([x, y, z], axis=-1) * np.array(spacing)
    world = index_xyz @ np.reshape(direction, (3, 3)).T + origin
    voxels = np.full(size[::-1], LUNG, np.int16)
    voxels[np.linalg.norm(world - point, axis=-1) <= radius_mm] = NODULE
    if rib_offset_mm is not None:
        voxels[np.abs(world - point - rib_offset_mm).max(axis=-1) <= 1.5] = RIB
    filled = sitk.GetImageFromArray(voxels)
    filled.CopyInformation(image)
    return filled, tuple(point.tolist())


def off_centre(crop_DHW, hu=(LUNG + NODULE) / 2, below=400):
    """Distance in voxels (D, H, W) of the ball's centre of mass from the middle of the crop."""
    inside = np.nonzero((crop_DHW > hu) & (crop_DHW < below))
    return np.array([axis.mean() for axis in inside]) - (np.array(crop_DHW.shape) - 1) / 2


def write_dicom(folder, image, uid=None, patient="P1", slope=2.0, intercept=-1024.0, rescales=None, dtype=np.uint16):
    """One file a slice, in shuffled name order; stored = (HU - intercept) / slope."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    uid, frame, study = uid or generate_uid(), generate_uid(), generate_uid()
    hu_DHW, axes = sitk.GetArrayFromImage(image), np.reshape(image.GetDirection(), (3, 3))
    order = np.random.default_rng(0).permutation(len(hu_DHW))
    for k, hu_HW in enumerate(hu_DHW):
        slope_k, intercept_k = rescales[k] if rescales else (slope, intercept)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{order[k]:03d}.dcm"
        slice_ = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.Modality, slice_.PatientID, slice_.SeriesInstanceUID = "CT", patient, uid
        slice_.StudyInstanceUID, slice_.FrameOfReferenceUID, slice_.InstanceNumber = study, frame, k + 1
        slice_.Rows, slice_.Columns = hu_HW.shape
        slice_.PixelSpacing = [f"{image.GetSpacing()[1]:.6g}", f"{image.GetSpacing()[0]:.6g}"]
        slice_.ImageOrientationPatient = [f"{v:.6g}" for v in [*axes[:, 0], *axes[:, 1]]]
        slice_.ImagePositionPatient = [f"{v:.8g}" for v in image.TransformIndexToPhysicalPoint((0, 0, k))]
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
        slice_.PixelRepresentation = int(np.dtype(dtype).kind == "i")
        slice_.RescaleSlope, slice_.RescaleIntercept = f"{slope_k:g}", f"{intercept_k:g}"
        slice_.PixelData = np.rint((hu_HW - intercept_k) / slope_k).astype(dtype).tobytes()
        pydicom.dcmwrite(path, slice_)
    return uid
