"""What file and folder names say: which study, which modality, which data set, which label scheme.

Only names and `dataset.json` are read here, never a voxel. Sources: the BraTS challenge pages of
2017 to 2024 and the `dataset.json` of MSD Task01_BrainTumour.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from monai_tumor.errors import SchemeError, StudyError
from monai_tumor.labels import SCHEMES, Modality, Tissue, modality


@dataclass(frozen=True)
class Layout:
    """How a data set names its files.

    Attributes:
        name: how datalists call it.
        scheme: the label scheme its data set is published in; None: it must be stated.
        description: which data sets use it.
    """

    name: str
    scheme: str | None
    description: str


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        layout.name: layout
        for layout in (
            Layout("msd", "msd", "4D images listed in dataset.json (MSD Task01)"),
            Layout("brats2020", "brats2021", "BraTS 2017 to 2020 folders"),
            Layout("brats2021", "brats2021", "BraTS 2021 folders"),
            Layout("brats2023", "brats2023", "BraTS 2023 on: GLI, SSA, MET, MEN, GoAT"),
            Layout("brats2024", "brats2024", "BraTS 2024 GLI after treatment, time point >= 100"),
            Layout("brats-ped", None, "BraTS-PED: label values differ between the years"),
            Layout("brats-men-rt", None, "BraTS-MEN-RT: label values differ from the others"),
            Layout("brats-other", None, "BraTS-XYZ of a challenge not known here"),
            Layout("named", None, "any folder with files named *_t1, *_t1ce, *_t2, *_flair, *_seg"),
            Layout("loose", None, "files whose modalities the caller stated"),
        )
    }
)

_OLD = re.compile(r"brats1[789]_(?P<case>.+)_\d+", re.IGNORECASE)
_YEAR_2020 = re.compile(r"brats20_\w+", re.IGNORECASE)
_YEAR_2021 = re.compile(r"brats2021_\w+", re.IGNORECASE)
_NEW = re.compile(
    r"(?P<subject>brats-(?P<cohort>men-rt|[a-z]+)-\d+)(?:-(?P<time>\d+))?", re.IGNORECASE
)
_COHORTS = {
    **dict.fromkeys(("gli", "ssa", "met", "men", "goat"), "brats2023"),
    "ped": "brats-ped",
    "men-rt": "brats-men-rt",
}
_POST_TREATMENT = 100  # first time point number of BraTS 2024 GLI


@dataclass(frozen=True)
class CaseName:
    """What the name of a case says.

    Attributes:
        study: one scan session; unique.
        subject: the person, whose studies no split may part.
        layout: a key of `LAYOUTS`.
    """

    study: str
    subject: str
    layout: str


def case_name(name: str) -> CaseName | None:
    """What `name` says if it is a BraTS case name, else None.

    In BraTS 2017 to 2019 the last number counts the scans of a person, and the same person keeps
    the middle of the name through the years; from 2023 the last number is the time point.
    """
    if match := _OLD.fullmatch(name):
        return CaseName(name, match["case"], "brats2020")
    if _YEAR_2020.fullmatch(name):
        return CaseName(name, name, "brats2020")
    if _YEAR_2021.fullmatch(name):
        return CaseName(name, name, "brats2021")
    if match := _NEW.fullmatch(name):
        cohort = match["cohort"].lower()
        layout = _COHORTS.get(cohort, "brats-other")
        if cohort == "gli" and int(match["time"] or 0) >= _POST_TREATMENT:
            layout = "brats2024"
        return CaseName(name, match["subject"], layout)
    return None


@dataclass(frozen=True)
class FileName:
    """What the name of one image file says.

    Attributes:
        case: the part before the modality; "" when there is none.
        separator: "-" or "_" between the two; "" when there is no case.
        word: the modality as the file spells it.
        role: the modality, or None for the label.
    """

    case: str
    separator: str
    word: str
    role: Modality | None


_LABEL_WORDS = frozenset({"seg", "segm", "label", "gtv"})
_NIFTI = re.compile(r"(?P<stem>.+)\.nii(\.gz)?", re.IGNORECASE)
_LAST_WORD = re.compile(r"(?:(?P<case>.*)(?P<separator>[-_]))?(?P<word>[^-_]+)")


def nifti_stem(path: Path) -> str | None:
    """The name without `.nii` or `.nii.gz`; None for other files and macOS's `._` twins."""
    match = _NIFTI.fullmatch(path.name)
    return None if match is None or path.name.startswith(".") else match["stem"]


def file_name(path: Path) -> FileName | None:
    """What the name of a NIfTI file says; None when it names no modality and no label.

    `BraTS20_Training_355` carries its label as `W39_1998.09.19_Segm.nii`: a label that ends in
    `Segm` belongs to the folder that it lies in, so its case is "".
    """
    match = _LAST_WORD.fullmatch(nifti_stem(path) or "")
    if match is None:
        return None
    case, separator, word = match["case"] or "", match["separator"] or "", match["word"]
    if word.lower() in _LABEL_WORDS:
        return FileName("" if word.lower() == "segm" else case, separator, word, None)
    try:
        return FileName(case, separator, word, modality(word))
    except SchemeError:
        return None


# How each style spells the modalities, to name a missing file the way its neighbours are named.
_OLD_WORDS = {Modality.T1N: "t1", Modality.T1C: "t1ce", Modality.T2W: "t2", Modality.T2F: "flair"}


def name_beside(neighbour: Path, wanted: Modality) -> str:
    """The file name that `wanted` would have in the style of `neighbour`, an image's path."""
    known = file_name(neighbour)
    if known is None:
        return f"{wanted}.nii.gz"
    old = known.word.lower() in _OLD_WORDS.values()
    ending = neighbour.name[len(nifti_stem(neighbour) or "") :]
    return f"{known.case}{known.separator}{_OLD_WORDS[wanted] if old else wanted}{ending}"


@dataclass(frozen=True)
class MsdDataset:
    """A `dataset.json` in the manner of the Medical Segmentation Decathlon.

    Attributes:
        folder: where it lies.
        modalities: channel order of its 4D images.
        scheme: what its `labels` map spells out, None if that fits no scheme; Task01's without one.
        training: image and label of each labelled study.
        test: images without a label.
    """

    folder: Path
    modalities: tuple[Modality, ...]
    scheme: str | None
    training: tuple[tuple[Path, Path], ...]
    test: tuple[Path, ...]


def read_msd(path: Path) -> MsdDataset | None:
    """The data set that `path`, a `dataset.json`, lists; None if it is of some other kind.

    Raises:
        StudyError: it is not JSON, or its lists are not what MSD prescribes.
        SchemeError: it names a modality that is not one of the four.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path.parent.name}/{path.name} cannot be read: {error}.") from None
    if not isinstance(data, dict) or "modality" not in data or "training" not in data:
        return None
    try:
        channels = [data["modality"][k] for k in sorted(data["modality"], key=int)]
        folder = path.parent
        training = [
            (_beside(folder, x["image"]), _beside(folder, x["label"])) for x in data["training"]
        ]
        test = [
            _beside(folder, x["image"] if isinstance(x, dict) else x) for x in data.get("test", [])
        ]
        labels = {int(k): str(v) for k, v in data.get("labels", {}).items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StudyError(
            f"{path.parent.name}/{path.name} is not a Decathlon data set: {error!r} where an entry"
            ' such as {"image": "./imagesTr/X.nii.gz", "label": "./labelsTr/X.nii.gz"} should be.'
        ) from None
    return MsdDataset(
        folder,
        tuple(modality(str(name)) for name in channels),
        scheme_of_names(labels) if labels else LAYOUTS["msd"].scheme,
        tuple(pair for pair in training if nifti_stem(pair[0])),
        tuple(image for image in test if nifti_stem(image)),
    )


def msd_above(image: Path) -> MsdDataset | None:
    """The Decathlon data set whose `imagesTr` or `imagesTs` folder holds `image`, if any."""
    listing = image.parent.parent / "dataset.json"
    if image.parent.name not in ("imagesTr", "imagesTs") or not listing.is_file():
        return None
    return read_msd(listing)


def _beside(folder: Path, entry: str) -> Path:
    return Path(os.path.normpath(folder / entry))


_TISSUE_WORDS = (
    (("edema",), Tissue.OEDEMA),
    (("cavity",), Tissue.CAVITY),
    (("cyst",), Tissue.CYST),
    (("necro", "non-enhancing", "non enhancing", "nonenhancing"), Tissue.NECROSIS),
    (("enhancing",), Tissue.ENHANCING),
)


def scheme_of_names(labels: Mapping[int, str]) -> str | None:
    """The scheme whose tissues a `labels` map such as `{1: "edema", ...}` spells out, else None."""
    tissues: dict[int, Tissue | None] = {}
    for value, name in labels.items():
        if value != 0:
            found = (t for words, t in _TISSUE_WORDS if any(w in name.lower() for w in words))
            tissues[value] = next(found, None)
    published = (s for s in SCHEMES.values() if s.name != "msd_as_published")
    return next((s.name for s in published if dict(s.tissues) == tissues), None)


def walk(root: Path, on_error: Callable[[OSError], Any]) -> Iterator[Path]:
    """Every file below `root`, folder by folder in order of name.

    Links are followed, but no folder is entered twice, so a loop of links ends. A folder that
    cannot be read is handed to `on_error` and passed over.
    """
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, onerror=on_error, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(files):
            yield Path(folder) / name
