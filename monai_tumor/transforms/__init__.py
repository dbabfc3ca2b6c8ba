"""Transforms that MONAI lacks, one a file."""

from typing import TYPE_CHECKING

from monai_tumor import lazy

if TYPE_CHECKING:
    from monai_tumor.transforms.keep_large_components import FilterTumourComponentsd
    from monai_tumor.transforms.labels_to_regions import LabelsToRegionsd
    from monai_tumor.transforms.load_study import LoadStudyd
    from monai_tumor.transforms.normalize_brain import NormalizeBraind
    from monai_tumor.transforms.rand_carve_mix import RandCarveMixd
    from monai_tumor.transforms.rand_drop_modality import RandDropModalityd
    from monai_tumor.transforms.rand_mirror_half import RandMirrorHalfd
    from monai_tumor.transforms.regions_to_labels import RegionsToLabelsd
    from monai_tumor.transforms.save_on_input_grid import SaveOnInputGridd
    from monai_tumor.transforms.select_modalities import SelectModalitiesd
    from monai_tumor.transforms.split_disagreement import SplitDisagreementd
    from monai_tumor.transforms.to_input_grid import ToInputGridd

__getattr__ = lazy.names(
    __name__,
    {
        "FilterTumourComponentsd": "keep_large_components",
        "LabelsToRegionsd": "labels_to_regions",
        "LoadStudyd": "load_study",
        "NormalizeBraind": "normalize_brain",
        "RandCarveMixd": "rand_carve_mix",
        "RandDropModalityd": "rand_drop_modality",
        "RandMirrorHalfd": "rand_mirror_half",
        "RegionsToLabelsd": "regions_to_labels",
        "SaveOnInputGridd": "save_on_input_grid",
        "SelectModalitiesd": "select_modalities",
        "SplitDisagreementd": "split_disagreement",
        "ToInputGridd": "to_input_grid",
    },
)

__all__ = [
    "FilterTumourComponentsd",
    "LabelsToRegionsd",
    "LoadStudyd",
    "NormalizeBraind",
    "RandCarveMixd",
    "RandDropModalityd",
    "RandMirrorHalfd",
    "RegionsToLabelsd",
    "SaveOnInputGridd",
    "SelectModalitiesd",
    "SplitDisagreementd",
    "ToInputGridd",
]
