"""DICOM in: series to NIfTI with audited geometry, roles of series, 2D slices for classifiers."""

from monai_tumor.dicom.convert import convert
from monai_tumor.dicom.converted import ConvertedSeries, NothingConvertedError
from monai_tumor.dicom.files import Limits
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.roles import Role, assign
from monai_tumor.dicom.series import Repair
from monai_tumor.dicom.slices import Picture, Recipe, read_slice

__all__ = [
    "ConvertedSeries",
    "Limits",
    "NothingConvertedError",
    "Picture",
    "Reason",
    "Recipe",
    "RefusalError",
    "Repair",
    "Role",
    "assign",
    "convert",
    "read_slice",
]
