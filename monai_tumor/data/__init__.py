"""Studies, datalists, splits by subject, phantoms, and images brought to one grid."""

from monai_tumor.data.datalist import Datalist, make_datalist
from monai_tumor.data.items import (
    inference_items,
    split_facts,
    training_items,
    validation_items,
)
from monai_tumor.data.memory import studies_in_memory
from monai_tumor.data.prepare import on_one_grid, prepare_study
from monai_tumor.data.prepared import PreparedStudy
from monai_tumor.data.studies import Study, find_studies, study_from_files

__all__ = [
    "Datalist",
    "PreparedStudy",
    "Study",
    "find_studies",
    "inference_items",
    "make_datalist",
    "on_one_grid",
    "prepare_study",
    "split_facts",
    "studies_in_memory",
    "study_from_files",
    "training_items",
    "validation_items",
]
