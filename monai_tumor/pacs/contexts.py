"""Which kinds of instance, in which encodings, are offered to a PACS."""

from collections.abc import Sequence
from typing import Any

from pydicom import uid as syntax
from pynetdicom import build_context
from pynetdicom import sop_class as sop

_PLAIN = (syntax.ExplicitVRLittleEndian, syntax.ImplicitVRLittleEndian)
_PACKED = (
    (syntax.JPEGLosslessSV1, syntax.JPEGLossless),
    (syntax.JPEGLSLossless, syntax.JPEGLSNearLossless),
    (syntax.JPEG2000Lossless, syntax.JPEG2000),
    (syntax.RLELossless, syntax.JPEGBaseline8Bit, syntax.JPEGExtended12Bit),
)
_IMAGES = (
    sop.MRImageStorage,
    sop.EnhancedMRImageStorage,
    sop.EnhancedMRColorImageStorage,
    sop.LegacyConvertedEnhancedMRImageStorage,
    sop.CTImageStorage,
    sop.EnhancedCTImageStorage,
    sop.LegacyConvertedEnhancedCTImageStorage,
    sop.PositronEmissionTomographyImageStorage,
    sop.EnhancedPETImageStorage,
    sop.LegacyConvertedEnhancedPETImageStorage,
    sop.SecondaryCaptureImageStorage,
    sop.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    sop.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    sop.MultiFrameTrueColorSecondaryCaptureImageStorage,
    sop.MultiFrameSingleBitSecondaryCaptureImageStorage,
    sop.SegmentationStorage,
    sop.NuclearMedicineImageStorage,
)
_OTHERS = (
    sop.MRSpectroscopyStorage,
    sop.RawDataStorage,
    sop.ParametricMapStorage,
    sop.SurfaceSegmentationStorage,
    sop.SpatialRegistrationStorage,
    sop.DeformableSpatialRegistrationStorage,
    sop.BasicTextSRStorage,
    sop.EnhancedSRStorage,
    sop.ComprehensiveSRStorage,
    sop.Comprehensive3DSRStorage,
    sop.KeyObjectSelectionDocumentStorage,
    sop.GrayscaleSoftcopyPresentationStateStorage,
    sop.EncapsulatedPDFStorage,
    sop.RTStructureSetStorage,
    sop.RTDoseStorage,
    sop.RTPlanStorage,
)


def contexts_to_get() -> list[Any]:
    """For a C-GET: each kind of image in each encoding that we read, and reports and the like.

    Every encoding has a context of its own, so that a PACS need not unpack what it holds packed;
    together they are fewer than the 127 that there is room for.
    """
    images = [build_context(kind, list(s)) for kind in _IMAGES for s in (_PLAIN, *_PACKED)]
    return images + [build_context(kind, list(_PLAIN)) for kind in _OTHERS]


def contexts_to_send(kinds: Sequence[tuple[str, str]]) -> list[Any]:
    """For a C-STORE: one context for each kind of file.

    Args:
        kinds: SOP class UID and transfer syntax UID of the files.
    """
    plain = {str(one) for one in _PLAIN}
    return [
        build_context(sop_class, list(_PLAIN) if encoding in plain else encoding)
        for sop_class, encoding in kinds
    ]
