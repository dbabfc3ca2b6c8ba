"""The JSON beside each NIfTI: BIDS names, where each slice came from, what was found and mended.

Nothing that names a person, an institution or a date is written unless `keep_identity`.
"""

from collections.abc import Sequence
from typing import Any

from pydicom import Dataset
from pydicom.multival import MultiValue

from monai_tumor.dicom.headers import look_up, texts
from monai_tumor.files import printable

# BIDS name -> DICOM keyword, for what is kept as it is.
_TEXT = {
    "Modality": "Modality",
    "Manufacturer": "Manufacturer",
    "ManufacturersModelName": "ManufacturerModelName",
    "SoftwareVersions": "SoftwareVersions",
    "BodyPartExamined": "BodyPartExamined",
    "PatientPosition": "PatientPosition",
    "SeriesDescription": "SeriesDescription",
    "ProtocolName": "ProtocolName",
    "SequenceName": "SequenceName",
    "PulseSequenceName": "PulseSequenceName",
    "ScanningSequence": "ScanningSequence",
    "SequenceVariant": "SequenceVariant",
    "ScanOptions": "ScanOptions",
    "MRAcquisitionType": "MRAcquisitionType",
    "ImageType": "ImageType",
    "AcquisitionContrast": "AcquisitionContrast",
    "ContrastBolusIngredient": "ContrastBolusAgent",
    "ReceiveCoilName": "ReceiveCoilName",
    "ConvolutionKernel": "ConvolutionKernel",
    "PhotometricInterpretation": "PhotometricInterpretation",
    "Units": "Units",
}
_NUMBER = {
    "SeriesNumber": "SeriesNumber",
    "MagneticFieldStrength": "MagneticFieldStrength",
    "ImagingFrequency": "ImagingFrequency",
    "FlipAngle": "FlipAngle",
    "EchoTrainLength": "EchoTrainLength",
    "PixelBandwidth": "PixelBandwidth",
    "SliceThickness": "SliceThickness",
    "SpacingBetweenSlices": "SpacingBetweenSlices",
    "KVP": "KVP",
    "XRayTubeCurrent": "XRayTubeCurrent",
}
# In seconds in BIDS, in milliseconds in DICOM.
_SECONDS = {
    "RepetitionTime": ("RepetitionTime",),
    "EchoTime": ("EffectiveEchoTime", "EchoTime"),
    "InversionTime": ("InversionTime",),
}
_IDENTITY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientWeight",
    "StudyDate",
    "AcquisitionDate",
    "AcquisitionTime",
    "AccessionNumber",
    "InstitutionName",
    "StationName",
    "DeviceSerialNumber",
)


def describe(groups: Sequence[Dataset], keep_identity: bool) -> dict[str, Any]:
    """BIDS fields of one frame, JSON-ready; absent ones are left out.

    Args:
        groups: from `headers.groups_of`.
        keep_identity: also write who, where and when.
    """
    fields: dict[str, Any] = {}
    for name, keyword in _TEXT.items():
        value = look_up(groups, keyword)
        if value is not None:
            several = isinstance(value, MultiValue)
            fields[name] = [printable(v) for v in value] if several else printable(value)
    for name, keyword in _NUMBER.items():
        _put(fields, name, look_up(groups, keyword), 1.0)
    for name, keywords in _SECONDS.items():
        value = next((v for k in keywords if (v := look_up(groups, k)) is not None), None)
        _put(fields, name, value, 0.001)
    if "SeriesNumber" in fields:
        fields["SeriesNumber"] = int(fields["SeriesNumber"])
    if keep_identity:
        for keyword in _IDENTITY:
            values = texts(groups[-1], keyword)
            if values:
                fields[keyword] = printable("\\".join(values))
    return fields


def _put(fields: dict[str, Any], name: str, value: Any, scale: float) -> None:
    try:
        if value is not None:
            fields[name] = round(float(value) * scale, 9)
    except (TypeError, ValueError):
        return
