"""DICOM in: audited NIfTI, roles of series, 2D slices for classifiers; de-identified DICOM out."""

from monai_tumor.dicom.convert import convert
from monai_tumor.dicom.converted import ConvertedSeries, NothingConvertedError
from monai_tumor.dicom.deidentified import Deidentification, DeidentifiedFile
from monai_tumor.dicom.deidentify import deidentify
from monai_tumor.dicom.files import Limits
from monai_tumor.dicom.profile import Option
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.roles import Role, assign
from monai_tumor.dicom.series import Repair
from monai_tumor.dicom.slices import Picture, Recipe, read_slice

__all__ = [
    "ConvertedSeries",
    "Deidentification",
    "DeidentifiedFile",
    "Limits",
    "NothingConvertedError",
    "Option",
    "Picture",
    "Reason",
    "Recipe",
    "RefusalError",
    "Repair",
    "Role",
    "assign",
    "convert",
    "deidentify",
    "read_slice",
]
