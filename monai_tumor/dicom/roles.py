"""Which series is t1n, t1c, t2w, t2f: from its description and header fields, with the reason.

The description is asked first (English, German, French, Spanish, Italian, Portuguese, Dutch,
Russian, Chinese, Japanese), the timing second. What looks like neither stays without a role. A
user's own choice always wins.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.labels import MODALITIES, Modality


@dataclass(frozen=True)
class Role:
    """What a series was taken for.

    Attributes:
        modality: or None where it is none of the four.
        reason: why, in words.
    """

    modality: Modality | None
    reason: str

    def __str__(self) -> str:
        """`t1c: 't1' in the description, contrast agent Gadovist`."""
        return f"{self.modality or 'no role'}: {self.reason}"


def _words(*words: str) -> re.Pattern[str]:
    """Any of `words`, not inside a longer Latin word."""
    return re.compile(r"(?<![a-z0-9])(?:" + "|".join(words) + r")(?![a-z0-9])")


# Searched in descriptions in lower case, without accents, `_` and `-` read as blanks.
_OTHER = _words(
    "loc", "localizer", "localiser", "scout", "survey", "pilot", "localizador", "localizzatore",
    "reperage", "topogram\\w*", "dwi", "diff\\w*", "adc", "trace\\w*", "dti", "tensor", "fa",
    "asl", "perf\\w*", "dsc", "dce", "cbv", "cbf", "mtt", "bold", "fmri", "ep2d", "swi", "swan",
    "venobold", "tof", "angio\\w*", "mra", "mrv", "mip", "minip", "subtraction", "substraction",
    "sub", "phase", "field map\\w*", "b0 map", "spectro\\w*", "mrs", "csi", "t2 ?star", "t2\\*",
    "t1 ?map\\w*", "t2 ?map\\w*", "pd", "stir", "ciss", "fiesta",
)  # fmt: skip
# GE calls a T1-weighted sequence "T1 FLAIR"; Siemens' TIRM is FLAIR or STIR, as its timing says.
_FLAIR = re.compile(r"(?<!t1)(?<!t1 )flair|dark ?fluid|dunkle flussigkeit")
_LONG_INVERSION = 1.5  # s; FLAIR nulls water at 1.8 to 2.9 s, STIR nulls fat at 0.1 to 0.3 s
_T2 = re.compile(r"(?<![a-z0-9])t2")
_T1 = re.compile(
    r"(?<![a-z0-9])t1|mp2?rage|(?<![a-z])(?:bravo|f?spgr|vibe|tfl3d|thrive|tfe)(?![a-z])"
)
_WITHOUT = re.compile(
    r"(?<![a-z])(?:pre(?! ?op)|native?|nativo|plain|w/?o|without|ohne|sans|sin|senza|sem|zonder"
    r"|non ?(?:contrast|ce))(?![a-z])|без|平扫|単純"
)
_WITH = re.compile(
    r"(?<![a-z])(?:gd|gad|gado\w*|ce|post|contrast\w*|c\+|km|kontrast\w*|mdc|iv|inj\w*|nach km"
    r"|dotarem|gadovist|magnevist|multihance|prohance|omniscan|clariscan)(?![a-z])"
    r"|\+ ?c(?![a-z])|\+ ?gd|t1(?:c|ce|gd)(?![a-z])|контраст|с ку|增强|增強|造影"
)
_NO_AGENT = re.compile(r"^\s*(?:no(?:ne)?|n/?a|ohne|sans|sin|0|-)?\s*$")


def classify(fields: Mapping[str, Any]) -> Role:
    """The role of a series.

    Args:
        fields: BIDS names, as in the sidecar; times in seconds.
    """
    if fields.get("Modality", "MR") != "MR":
        return Role(None, f"modality is {fields['Modality']}")
    image_type = [str(t).upper() for t in _list(fields.get("ImageType"))]
    derived = {"PHASE", "P", "ADC", "PROJECTION IMAGE", "MIP", "SUBTRACTION"} & set(image_type)
    if derived:
        return Role(None, f"image type {'/'.join(sorted(derived))}")
    text = _plain(f"{fields.get('SeriesDescription', '')} {fields.get('ProtocolName', '')}")
    other = _OTHER.search(text)
    if other and not _FLAIR.search(text):
        return Role(None, f"{other[0]!r} in the description")
    kind, reason = _weighting(text, fields)
    if kind is None:
        return Role(None, reason)
    if kind != "t1":
        return Role(Modality.T2F if kind == "flair" else Modality.T2W, reason)
    contrast, why = _contrast(text, str(fields.get("ContrastBolusIngredient", "")))
    return Role(Modality.T1C if contrast else Modality.T1N, f"{reason}, {why}")


def _weighting(text: str, fields: Mapping[str, Any]) -> tuple[str | None, str]:
    ti = fields.get("InversionTime") or 0.0
    if "tirm" in text and not _FLAIR.search(text):
        is_flair = ti >= _LONG_INVERSION
        return "flair" if is_flair else None, f"'tirm' in the description, TI {ti * 1000:g} ms"
    for kind, pattern in (("flair", _FLAIR), ("t2", _T2), ("t1", _T1)):
        found = pattern.search(text)
        if found:
            return kind, f"{found[0]!r} in the description"
    acquired = {"FLUID_ATTENUATED": "flair", "T1": "t1", "T2": "t2"}.get(
        str(fields.get("AcquisitionContrast", "")).upper()
    )
    if acquired:
        return acquired, f"acquisition contrast {fields['AcquisitionContrast']}"
    te, tr = fields.get("EchoTime"), fields.get("RepetitionTime")
    if te is None or tr is None:
        return None, "neither the description nor the timing tells"
    timing = f"TE {te * 1000:g} ms, TR {tr * 1000:g} ms"
    if ti >= _LONG_INVERSION and te >= 0.06:
        return "flair", f"{timing}, TI {ti * 1000:g} ms"
    if te >= 0.06 and tr >= 2.0:
        return "t2", timing
    if te <= 0.03 and (tr <= 1.0 or 0.4 <= ti <= 1.3):
        return "t1", timing
    return None, f"the description does not tell, nor does {timing}"


def _contrast(text: str, agent: str) -> tuple[bool, str]:
    without, with_agent = _WITHOUT.search(text), _WITH.search(text)
    if without:
        return False, f"{without[0]!r} in the description"
    if with_agent:
        return True, f"{with_agent[0]!r} in the description"
    if not _NO_AGENT.match(agent.lower()):
        return True, f"contrast agent {agent!r}"
    return False, "no contrast agent"


def _plain(text: str) -> str:
    lower = unicodedata.normalize("NFKD", text.lower())
    bare = "".join(c for c in lower if not unicodedata.combining(c))
    return re.sub(r"[_\-.,;:()\[\]]+", " ", unicodedata.normalize("NFKC", bare))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


class Candidate(Protocol):
    """What `assign` needs to know of a converted series."""

    @property
    def series_uid(self) -> str:
        """Its series instance UID."""

    @property
    def name(self) -> str:
        """Its file's name without ending, or empty where it was refused."""

    @property
    def role(self) -> Role:
        """What it was taken for."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres along each axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""


C = TypeVar("C", bound=Candidate)


def assign(
    series: Sequence[C], override: Mapping[Modality, str] | None = None
) -> dict[Modality, C]:
    """The series for each modality that has one.

    Of several with one role the 3D one with the smallest voxel edge is taken, then the one with
    most voxels.

    Args:
        series: what `convert` returned.
        override: modality -> series UID or file name (without ending) to take instead.

    Raises:
        RefusalError: an override names no converted series.
    """
    usable = [one for one in series if one.name and len(one.shape) == 3]
    chosen: dict[Modality, C] = {}
    for modality in MODALITIES:
        fitting = [one for one in usable if one.role.modality is modality]
        if fitting:
            chosen[modality] = min(
                fitting,
                key=lambda one: (round(max(one.spacing[:3]), 1), -one.shape[0] * one.shape[2]),
            )
    for modality, wanted in (override or {}).items():
        named = [one for one in usable if wanted in (one.series_uid, one.name)]
        if len(named) != 1:
            known = ", ".join(one.name for one in usable)
            raise RefusalError(
                Reason.NO_SUCH_SERIES,
                f"{wanted!r} names {len(named)} series for {modality}; converted are {known}.",
            )
        chosen[modality] = named[0]
    return chosen
