"""What `prepare_study` did to a study: facts for the report."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from monai_tumor.data.study import Study
from monai_tumor.imaging.registration import RigidTransform
from monai_tumor.imaging.skull import SkullFinding
from monai_tumor.imaging.skullstrip import StripQuality
from monai_tumor.labels import Modality

_COVERED = 0.95  # of the brain; an image that shows less is worth a warning


class Placing(StrEnum):
    """How an image came to lie on the reference's grid."""

    UNCHANGED = "unchanged"
    ROUNDED = "given the reference's affine, from which its own differs by rounding"
    RESAMPLED = "resampled"
    REGISTERED = "registered"


class MaskSource(StrEnum):
    """Where the brain mask came from."""

    NONE = "none"
    GIVEN = "given"
    STRIPPED = "found in the images"
    OTHER_MODALITIES = "the modalities that had no skull"


@dataclass(frozen=True)
class PreparedImage:
    """What was done to one image.

    Attributes:
        modality: which.
        source: the file it came from.
        placing: how it came to lie on the reference's grid.
        transform: of the registration, where there was one.
        covered: share that it shows of the brain mask, or without one of what the reference shows.
    """

    modality: Modality
    source: Path
    placing: Placing
    transform: RigidTransform | None
    covered: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "modality": str(self.modality),
            "source": self.source.name,
            "placing": str(self.placing),
            "transform": self.transform.as_dict() if self.transform else None,
            "covered": round(self.covered, 4),
        }


@dataclass(frozen=True)
class PreparedStudy:
    """A study that the bundles' transforms can read, and how it came to be.

    Attributes:
        study: images on one grid without a skull, and no label; the source itself where nothing
            was to be done.
        source: the study as it was given.
        reference: the modality whose grid it is.
        images: what was done to each, in the order of the source's modalities.
        skull: what was seen of a skull before; None where it was not looked for.
        mask_source: where the brain mask came from.
        mask: the brain mask's file, on the reference's grid; None where there is none.
        quality: what can be said of the mask.
    """

    study: Study
    source: Study
    reference: Modality
    images: tuple[PreparedImage, ...]
    skull: SkullFinding | None
    mask_source: MaskSource
    mask: Path | None
    quality: StripQuality | None

    @property
    def changed(self) -> bool:
        """Whether files were written."""
        return self.study is not self.source

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the result must know, a line each."""
        out = []
        if self.quality is not None and not self.quality.ok:
            out.append(f"The skull strip is doubtful: {'; '.join(self.quality.problems)}.")
        elif self.mask_source is MaskSource.STRIPPED:
            out.append("The skull was stripped by a simple method; look at the mask.")
        if self.mask_source is MaskSource.NONE and self.skull is not None and self.skull.found:
            out.append(f"The skull is still on: {self.skull.reason}.")
        for image in self.images:
            if image.covered < _COVERED:
                out.append(f"{image.modality} shows only {image.covered:.0%} of the brain.")
        return tuple(out)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "study": self.study.study,
            "reference": str(self.reference),
            "changed": self.changed,
            "images": [image.as_dict() for image in self.images],
            "skull": self.skull.as_dict() if self.skull else None,
            "mask_source": str(self.mask_source),
            "mask": self.mask.name if self.mask else None,
            "mask_quality": self.quality.as_dict() if self.quality else None,
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        """Several lines."""
        lines = [f"{self.study.study}: on the grid of {self.reference}"]
        for image in self.images:
            how = f": {image.transform}" if image.transform else ""
            lines.append(f"  {image.modality} {image.placing}{how}")
        if self.quality is not None:
            lines.append(f"  {self.quality} ({self.mask_source})")
        return "\n".join([*lines, *(f"  warning: {line}" for line in self.warnings)])
