"""2D slices and their classes: found, read, checked for twins, split so that nothing leaks."""

from monai_tumor.data.slices.find import find_slices
from monai_tumor.data.slices.findings import Audit, audit, audit_prints
from monai_tumor.data.slices.fingerprints import Fingerprints, fingerprint
from monai_tumor.data.slices.items import LeftOut, SliceDataset, SliceItem
from monai_tumor.data.slices.leaks import (
    Leak,
    LeakStamp,
    leak_of_weights,
    leak_told,
    require_no_leak,
)
from monai_tumor.data.slices.pictures import decode, read_picture
from monai_tumor.data.slices.pictures_in_memory import SlicePictures
from monai_tumor.data.slices.prepare import Preparation
from monai_tumor.data.slices.sides import (
    Division,
    SliceSplit,
    class_weights,
    classes_of,
    divide,
    side_items,
    slice_facts,
    slices_to_classify,
    training_items,
)
from monai_tumor.data.slices.splits import assign, group
from monai_tumor.data.slices.twins import TWIN, Twins, find_twins

__all__ = [
    "TWIN",
    "Audit",
    "Division",
    "Fingerprints",
    "Leak",
    "LeakStamp",
    "LeftOut",
    "Preparation",
    "SliceDataset",
    "SliceItem",
    "SlicePictures",
    "SliceSplit",
    "Twins",
    "assign",
    "audit",
    "audit_prints",
    "class_weights",
    "classes_of",
    "decode",
    "divide",
    "find_slices",
    "find_twins",
    "fingerprint",
    "group",
    "leak_of_weights",
    "leak_told",
    "read_picture",
    "require_no_leak",
    "side_items",
    "slice_facts",
    "slices_to_classify",
    "training_items",
]
