"""The one table of modalities, label values and regions.

Channel order of every network's input is `MODALITIES`; of every network's output `REGIONS`.
A label scheme says which integer stands for which tissue. It is named by every datalist, every
result and every model card, and it is never guessed from the values in a file.

Sources: MSD Task01 `dataset.json`; the BraTS challenge pages of 2018, 2021, 2023 and 2024.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from monai_tumor.errors import SchemeError

if TYPE_CHECKING:
    import numpy as np


class Modality(StrEnum):
    """MR contrasts, by their BraTS 2023 names."""

    T1N = "t1n"
    T1C = "t1c"
    T2W = "t2w"
    T2F = "t2f"


class Region(StrEnum):
    """Overlapping tumour regions: tumour core, whole tumour, enhancing tumour."""

    TC = "TC"
    WT = "WT"
    ET = "ET"


class Tissue(StrEnum):
    """What one integer of a label map stands for. Tissues are disjoint."""

    NECROSIS = "necrotic or non-enhancing core"
    OEDEMA = "oedema"
    ENHANCING = "enhancing tumour"
    CYST = "cyst"
    CAVITY = "resection cavity"


MODALITIES = (Modality.T1N, Modality.T1C, Modality.T2W, Modality.T2F)
REGIONS = (Region.TC, Region.WT, Region.ET)

# Every name that a data set or a zoo bundle gives to a modality, in lower case.
_MODALITY_NAMES = {
    Modality.T1N: ("t1n", "t1", "t1w", "t1-weighted", "native t1"),
    Modality.T1C: ("t1c", "t1ce", "t1gd", "t1-gd", "t1post", "t1gad"),
    Modality.T2W: ("t2w", "t2", "t2-weighted"),
    Modality.T2F: ("t2f", "flair", "t2-flair", "t2flair", "fluid attenuated inversion recovery"),
}
_MODALITY_OF_NAME = {name: key for key, names in _MODALITY_NAMES.items() for name in names}


def modality(name: str) -> Modality:
    """The modality that `name` stands for: `t1ce`, `T1gd` and `T1c` are all `t1c`.

    Raises:
        SchemeError: the name is unknown.
    """
    try:
        return _MODALITY_OF_NAME[name.strip().lower()]
    except KeyError:
        known = ", ".join(names[0] for names in _MODALITY_NAMES.values())
        raise SchemeError(
            f"Unknown modality {name!r}; known are {known} and their aliases (flair, t1ce, t1gd)."
        ) from None


@dataclass(frozen=True)
class LabelScheme:
    """Which integer stands for which tissue, and which tissues make up each region.

    Attributes:
        name: how datalists, results and command lines call it.
        tissues: label value -> tissue. 0 is background in every scheme.
        regions: region -> label values whose union it is.
        description: the data sets it belongs to.
    """

    name: str
    tissues: Mapping[int, Tissue]
    regions: Mapping[Region, tuple[int, ...]]
    description: str

    def value(self, tissue: Tissue) -> int:
        """The integer that stands for `tissue`.

        Raises:
            SchemeError: the scheme has no such tissue.
        """
        for value, name in self.tissues.items():
            if name is tissue:
                return value
        raise SchemeError(f"Label scheme {self.name!r} has no value for {tissue}.")

    def unknown_values(self, values: Iterable[int]) -> list[int]:
        """Those of `values` that the scheme does not know, sorted; 0 is always known."""
        return sorted(set(values) - set(self.tissues) - {0})


def _scheme(name: str, tissues: dict[int, Tissue], description: str) -> LabelScheme:
    core = {Tissue.NECROSIS, Tissue.ENHANCING, Tissue.CYST}
    whole = core | {Tissue.OEDEMA}
    regions = {
        Region.TC: tuple(v for v, t in tissues.items() if t in core),
        Region.WT: tuple(v for v, t in tissues.items() if t in whole),
        Region.ET: tuple(v for v, t in tissues.items() if t is Tissue.ENHANCING),
    }
    return LabelScheme(name, MappingProxyType(tissues), MappingProxyType(regions), description)


_N, _O, _E = Tissue.NECROSIS, Tissue.OEDEMA, Tissue.ENHANCING

SCHEMES: Mapping[str, LabelScheme] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (
            _scheme("msd", {1: _O, 2: _N, 3: _E}, "MSD Task01_BrainTumour"),
            _scheme("brats2021", {1: _N, 2: _O, 4: _E}, "BraTS 2017 to 2022"),
            _scheme("brats2023", {1: _N, 2: _O, 3: _E}, "BraTS 2023 glioma, Africa, metastases"),
            _scheme(
                "brats2024",
                {1: _N, 2: _O, 3: _E, 4: Tissue.CAVITY},
                "BraTS 2024 glioma after treatment; 4 is the resection cavity, in no region",
            ),
            _scheme(
                "ped2024", {1: _E, 2: _N, 3: Tissue.CYST, 4: _O}, "BraTS 2024 paediatric tumours"
            ),
            # A published report and a well-known notebook read MSD's label 2 as enhancing tumour.
            # Kept so that their figures can be reproduced; never a default.
            _scheme("msd_as_published", {1: _O, 2: _E, 3: _N}, "MSD read as in the report: ET = 2"),
        )
    }
)


def scheme(name: str) -> LabelScheme:
    """The label scheme called `name`.

    Raises:
        SchemeError: there is none.
    """
    if name not in SCHEMES:
        raise SchemeError(f"Unknown label scheme {name!r}; choose one of {', '.join(SCHEMES)}.")
    return SCHEMES[name]


def to_regions(labels: Any, scheme_name: str, regions: Sequence[Region] = REGIONS) -> Any:
    """Overlapping region masks of a label map.

    Args:
        labels: integers, any shape [*spatial]; a numpy array or a torch tensor.
        scheme_name: how to read them.
        regions: which, in channel order.

    Returns:
        bool, [len(regions), *spatial], of the same kind as `labels`.

    Raises:
        SchemeError: no such scheme.
    """
    table = scheme(scheme_name).regions
    masks = []
    for region in regions:
        mask = labels != labels  # all False; works for numpy and torch alike
        for value in table[region]:
            mask = mask | (labels == value)
        masks.append(mask)
    if hasattr(labels, "new_zeros"):
        import torch

        return torch.stack(masks)
    import numpy as np

    return np.stack(masks)


def to_labels(tc: Any, wt: Any, et: Any, scheme_name: str) -> Any:
    """The label map of three region masks; the innermost region wins.

    Enhancing tumour is where ET; core where TC but not ET; oedema where WT but neither. A voxel
    in ET that is not in TC or WT is still enhancing tumour, so nothing predicted gets lost.

    Args:
        tc: bool, [*spatial], tumour core; numpy array or torch tensor.
        wt: bool, [*spatial], whole tumour.
        et: bool, [*spatial], enhancing tumour.
        scheme_name: whose values to write.

    Returns:
        uint8, [*spatial], of the same kind as the masks.
    """
    chosen = scheme(scheme_name)
    out: Any
    if hasattr(tc, "new_zeros"):
        import torch

        out = torch.zeros(tc.shape, dtype=torch.uint8, device=tc.device)
    else:
        import numpy as np

        out = np.zeros(tc.shape, dtype=np.uint8)
    out[wt] = chosen.value(Tissue.OEDEMA)
    out[tc] = chosen.value(Tissue.NECROSIS)
    out[et] = chosen.value(Tissue.ENHANCING)
    return out


def convert_labels(labels: "np.ndarray[Any, Any]", source: str, target: str) -> Any:
    """`labels` of scheme `source`, written in scheme `target`.

    Raises:
        SchemeError: a value present is unknown in `source`, or its tissue has none in `target`.
    """
    import numpy as np

    present = [int(v) for v in np.unique(labels) if v != 0]
    unknown = scheme(source).unknown_values(present)
    if unknown:
        raise SchemeError(
            f"Label values {unknown} are not in scheme {source!r}; state the right scheme."
        )
    out = np.zeros(labels.shape, dtype=np.uint8)
    for value in present:
        out[labels == value] = scheme(target).value(scheme(source).tissues[value])
    return out
