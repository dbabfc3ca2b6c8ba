"""Pictures as DICOM Secondary Capture, by highdicom (extra `dicom`)."""

import hashlib

import numpy as np
from highdicom.sc import SCImage
from pydicom import Dataset

from monai_tumor.dicom.results import RESEARCH, Job, KeyImage


def capture(job: Job, image: KeyImage, number: int) -> Dataset:
    """One picture; those of one export are instances of one series.

    Args:
        job: what was segmented.
        image: the picture.
        number: of the picture, from 1.
    """
    identity = job.identity("sc", 3, "Tumour key images (research)")
    digest = hashlib.sha256(image.pixels.tobytes()).hexdigest()
    identity |= {"sop_instance_uid": job.uid("sc", image.name, digest), "instance_number": number}
    made = SCImage.from_ref_dataset(
        ref_dataset=job.headers[0],
        pixel_array=np.ascontiguousarray(image.pixels),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=image.orientation,
        **identity,
    )
    made.BodyPartExamined = "BRAIN"
    made.BurnedInAnnotation = "NO"
    made.ImageComments = RESEARCH
    return job.settle(made)
