"""Studies, datalists, splits by subject, and phantoms."""

from monai_tumor.data.datalist import Datalist, make_datalist
from monai_tumor.data.items import (
    inference_items,
    split_facts,
    training_items,
    validation_items,
)
from monai_tumor.data.memory import studies_in_memory
from monai_tumor.data.studies import Study, find_studies, study_from_files

__all__ = [
    "Datalist",
    "Study",
    "find_studies",
    "inference_items",
    "make_datalist",
    "split_facts",
    "studies_in_memory",
    "study_from_files",
    "training_items",
    "validation_items",
]
