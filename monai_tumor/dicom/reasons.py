"""Every reason for which a DICOM file or series is refused, by name."""

from enum import StrEnum

from monai_tumor.errors import DicomError
from monai_tumor.files import printable


class Reason(StrEnum):
    """Why something was refused; the values stand in JSON and in `docs/dicom.md`."""

    NOT_FOUND = "not-found"
    NOT_DICOM = "not-dicom"
    UNSAFE_PATH = "unsafe-path"
    TOO_LARGE = "too-large"
    NESTED_TOO_DEEP = "nested-too-deep"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    NOT_AN_IMAGE = "not-an-image"
    NO_SUCH_SERIES = "no-such-series"
    BAD_HEADER = "bad-header"
    NO_POSITION = "no-position"
    NO_ORIENTATION = "no-orientation"
    BAD_ORIENTATION = "bad-orientation"
    NO_PIXEL_SPACING = "no-pixel-spacing"
    BAD_RESCALE = "bad-rescale"
    NONLINEAR_LUT = "nonlinear-lut"
    UNSUPPORTED_PIXELS = "unsupported-pixels"
    MOSAIC_UNKNOWN = "mosaic-unknown"
    CONFLICTING_INSTANCES = "conflicting-instances"
    DUPLICATE_POSITIONS = "duplicate-positions"
    MISSING_SLICES = "missing-slices"
    VARIABLE_SPACING = "variable-spacing"
    INCOMPLETE_4D = "incomplete-4d"
    AUDIT_MISMATCH = "audit-mismatch"
    SECONDARY_CAPTURE = "secondary-capture"
    BURNED_IN = "burned-in"
    CHOOSE_FRAME = "choose-frame"
    CHOOSE_SERIES = "choose-series"
    GRID_DIFFERS = "grid-differs"
    NOT_COVERED = "not-covered"
    NO_FRAME_OF_REFERENCE = "no-frame-of-reference"
    NOT_REFERENCEABLE = "not-referenceable"
    NOT_OURS = "not-ours"


_LONGEST = 400


class RefusalError(DicomError):
    """A file or series that cannot be converted correctly; nothing was written for it.

    Attributes:
        reason: its name.
    """

    def __init__(self, reason: Reason, message: str):
        # Decoders' messages run over many lines; names from outside may hold control characters.
        line = printable(message, _LONGEST)
        super().__init__(line if f"[{reason}]" in line else f"{line} [{reason}]")
        self.reason = reason
