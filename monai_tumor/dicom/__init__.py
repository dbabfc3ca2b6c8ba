"""DICOM in and out: series to audited NIfTI, roles, 2D slices; masks to SEG, SR, key images.

And DICOM to DICOM without the patient: `deidentify`.
"""

from monai_tumor.dicom.convert import convert
from monai_tumor.dicom.converted import ConvertedSeries, NothingConvertedError
from monai_tumor.dicom.deidentified import Deidentification, DeidentifiedFile
from monai_tumor.dicom.deidentify import deidentify
from monai_tumor.dicom.export import Exported, export
from monai_tumor.dicom.files import Limits, looks_like_dicom
from monai_tumor.dicom.profile import Option
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.results import Algorithm, KeyImage, Mask
from monai_tumor.dicom.roles import Role, assign
from monai_tumor.dicom.series import Repair
from monai_tumor.dicom.slices import Picture, Recipe, read_slice
from monai_tumor.dicom.studies import DicomStudy, find_dicom_studies

__all__ = [
    "Algorithm",
    "ConvertedSeries",
    "Deidentification",
    "DeidentifiedFile",
    "DicomStudy",
    "Exported",
    "KeyImage",
    "Limits",
    "Mask",
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
    "export",
    "find_dicom_studies",
    "looks_like_dicom",
    "read_slice",
]
