"""Measurements as a DICOM structured report, TID 1500, by highdicom (extra `dicom`)."""

from collections.abc import Sequence
from typing import Any

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from monai_tumor import __version__
from monai_tumor.dicom.codes import (
    ABNORMAL,
    BRAIN,
    LONG_AXIS,
    MILLILITRE,
    MILLIMETRE,
    OWN_SCHEME,
    OWN_SCHEME_NAME,
    PROCEDURE,
    REGIONS,
    SHORT_AXIS,
    TISSUES,
    VOLUME,
)
from monai_tumor.dicom.results import MANUFACTURER, Job
from monai_tumor.labels import Region, Tissue

_DECIMALS = 3  # of mL and mm


def report(job: Job, segmentation: Dataset | None) -> Dataset:
    """A preliminary, unverified report of volumes and diameters.

    Each segment has a group (TID 1411) that refers to it and shares its tracking UID; a tissue of
    the scheme that is not there has one that says 0 mL. WT, TC and ET, which overlap, have groups
    without a segment (TID 1501). Standard: PS3.16 TID 1500.

    Args:
        job: what was segmented.
        segmentation: the SEG that goes with it; None where there is no tumour.
    """
    content = sr.MeasurementReport(
        observation_context=_observer(),
        procedure_reported=PROCEDURE,
        imaging_measurements=[
            *(_region(job, region) for region in (Region.WT, Region.TC, Region.ET)),
            *(_tissue(job, tissue, segmentation) for tissue in job.tissues_ml),
        ],
    )
    made = sr.EnhancedSR(
        evidence=[*job.headers, *([] if segmentation is None else [segmentation])],
        content=content,
        is_complete=True,
        coding_schemes=[own_scheme()],
        **job.identity("sr", 2, "Tumour measurements (research)"),
    )
    return job.settle(made)


def own_scheme() -> CodingSchemeIdentificationItem:
    """Who stands behind the codes that the standard lacks."""
    return CodingSchemeIdentificationItem(
        designator=OWN_SCHEME,
        name=OWN_SCHEME_NAME,
        version=__version__,
        responsible_organization=MANUFACTURER,
    )


def _observer() -> sr.ObservationContext:
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                uid=generate_uid(entropy_srcs=[MANUFACTURER, __version__]),
                name=MANUFACTURER,
                manufacturer_name=MANUFACTURER,
                model_name=MANUFACTURER,
                serial_number=__version__,
            ),
        )
    )


def _region(job: Job, region: Region) -> sr.MeasurementsAndQualitativeEvaluations:
    longest = job.diameters.get(region, ())
    diameters = [
        sr.Measurement(name=name, value=round(value, _DECIMALS), unit=MILLIMETRE)
        for name, value in zip((LONG_AXIS, SHORT_AXIS), longest, strict=False)
    ]
    return sr.MeasurementsAndQualitativeEvaluations(
        **_group(job, str(region), REGIONS[region], job.regions_ml[region], diameters)
    )


def _tissue(
    job: Job, tissue: Tissue, segmentation: Dataset | None
) -> (
    sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
):
    group = _group(job, str(tissue), TISSUES[tissue], job.tissues_ml[tissue])
    if segmentation is None or tissue not in job.segments:
        return sr.MeasurementsAndQualitativeEvaluations(**group)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=sr.ReferencedSegment.from_segmentation(
            segmentation, segment_number=job.segments[tissue]
        ),
        **group,
    )


def _group(
    job: Job, name: str, finding: Code, volume: float, others: Sequence[Any] = ()
) -> dict[str, Any]:
    """What every group of measurements says."""
    algorithm = job.mask.algorithm
    return {
        "tracking_identifier": sr.TrackingIdentifier(uid=job.uid("track", name), identifier=name),
        "finding_category": ABNORMAL,
        "finding_type": finding,
        "finding_sites": [sr.FindingSite(anatomic_location=BRAIN)],
        "algorithm_id": None
        if algorithm is None
        else sr.AlgorithmIdentification(
            name=algorithm.name,
            version=algorithm.version,
            parameters=algorithm.parameters or None,
        ),
        "measurements": [
            sr.Measurement(name=VOLUME, value=round(volume, _DECIMALS), unit=MILLILITRE),
            *others,
        ],
    }
