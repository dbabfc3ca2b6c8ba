"""DICOM in: series to NIfTI with audited geometry, roles of series, 2D slices for classifiers."""

from monai_tumor.dicom.convert import convert
from monai_tumor.dicom.converted import ConvertedSeries, NothingConvertedError
from monai_tumor.dicom.files import Limits
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.series import Repair

__all__ = [
    "ConvertedSeries",
    "Limits",
    "NothingConvertedError",
    "Reason",
    "RefusalError",
    "Repair",
    "convert",
]
