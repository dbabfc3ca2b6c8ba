"""A phantom as a scanner would store it: four MR series, a file for each slice."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from monai_tumor.data.phantom.anatomy import Array
from monai_tumor.data.phantom.phantom import Phantom
from monai_tumor.files import write_atomically
from monai_tumor.labels import MODALITIES, Modality

# Times in ms, and the rest of what tells a sequence by its header.
_SEQUENCES: dict[Modality, dict[str, Any]] = {
    Modality.T1N: {
        "SeriesDescription": "T1 axial",
        "ScanningSequence": "SE",
        "EchoTime": "9",
        "RepetitionTime": "550",
        "EchoTrainLength": "1",
    },
    Modality.T1C: {
        "SeriesDescription": "T1 axial post contrast",
        "ScanningSequence": "SE",
        "EchoTime": "9",
        "RepetitionTime": "550",
        "EchoTrainLength": "1",
        "ContrastBolusAgent": "Gadobutrol",
    },
    Modality.T2W: {
        "SeriesDescription": "T2 axial",
        "ScanningSequence": "SE",
        "EchoTime": "95",
        "RepetitionTime": "4200",
        "EchoTrainLength": "15",
    },
    Modality.T2F: {
        "SeriesDescription": "FLAIR axial",
        "ScanningSequence": ["SE", "IR"],
        "EchoTime": "120",
        "RepetitionTime": "9000",
        "InversionTime": "2500",
        "EchoTrainLength": "20",
    },
}


def write_dicom_phantom(folder: Path, phantom: Phantom) -> list[Path]:
    """The folders of the four series of a phantom, t1n, t1c, t2w, t2f, written within `folder`.

    Classic MR images, axial, in one frame of reference; the truth is not written. UIDs are a
    function of the phantom's name and parameters, so that the same phantom is the same study.

    Raises:
        InputError: the folder cannot be written.
    """
    written = []
    for number, (modality, image) in enumerate(
        zip(MODALITIES, phantom.images, strict=True), start=1
    ):
        series = _series(phantom, modality, number)
        for index in range(image.shape[2]):
            made = _slice(series, phantom, image, index)
            path = folder / str(modality) / f"{index + 1:04d}.dcm"
            write_atomically(path, partial(made.save_as, enforce_file_format=True))
        written.append(folder / str(modality))
    return written


def _uid(phantom: Phantom, *role: object) -> str:
    known = json.dumps([phantom.name, phantom.label.shape, phantom.spacing, phantom.parameters])
    return str(generate_uid(entropy_srcs=["monai_tumor phantom", known, *map(str, role)]))


def _series(phantom: Phantom, modality: Modality, number: int) -> Dataset:
    """What all slices of a series have."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = MRImageStorage
    made.StudyInstanceUID = _uid(phantom, "study")
    made.SeriesInstanceUID = _uid(phantom, "series", modality)
    made.FrameOfReferenceUID = _uid(phantom, "frame of reference")
    made.PatientName, made.PatientID = f"{phantom.name}^Phantom", phantom.name
    made.PatientBirthDate = made.PatientSex = made.AccessionNumber = ""
    made.ReferringPhysicianName = made.PositionReferenceIndicator = ""
    made.StudyDate, made.StudyTime, made.StudyID = "20260101", "120000", "1"
    made.StudyDescription = "Phantom of a brain tumour"
    made.Modality, made.SeriesNumber = "MR", number
    made.Manufacturer = "Phantom"
    made.BodyPartExamined, made.PatientPosition = "BRAIN", "HFS"
    made.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
    made.SequenceVariant, made.ScanOptions, made.MRAcquisitionType = "NONE", "", "2D"
    for keyword, value in _SEQUENCES[modality].items():
        setattr(made, keyword, value)
    return made


def _slice(series: Dataset, phantom: Phantom, image: Array, index: int) -> Dataset:
    """Slice `index` of an image [X, Y, Z] of RAS axes; DICOM's axes run left, posterior, up."""
    x, y, z = phantom.spacing
    rows = np.rint(image[::-1, ::-1, index].T).astype("<u2")
    last = np.array([image.shape[0] - 1, image.shape[1] - 1, index, 1.0])
    right, anterior, up, _ = phantom.affine @ last
    made = Dataset()
    made.update(series)
    made.SOPInstanceUID = _uid(phantom, series.SeriesInstanceUID, index)
    made.InstanceNumber = index + 1
    made.ImagePositionPatient = [round(float(v), 6) for v in (-right, -anterior, up)]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.SliceThickness = [y, x], z
    made.Rows, made.Columns = rows.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.PixelRepresentation = 0
    made.PixelData = np.ascontiguousarray(rows).tobytes()
    made["PixelData"].VR = "OW"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made
