"""How often the gate of a slice classifier refuses what is no such slice, and what is one.

    python scripts/measure_gate.py --weights FILE [--accept DIR ...] [--reject DIR ...] [-o FILE]

Refused should be 500 random crops of the pictures that scikit-image and scikit-learn carry, noise
of several kinds, text, and the slices under --reject, such as another organ's. Accepted should be
those under --accept, such as the test side: folders, pictures or DICOM files that no training saw.
Each goes through a file, as for `monai-tumor classify`. Rates come with 95% intervals
(Clopper-Pearson). Left out of the crops is scikit-image's `phantom.png`, a drawn head.
"""

import argparse
import string
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import skimage
import sklearn
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from scipy.stats import binomtest

from monai_tumor.data.slices import slices_to_classify
from monai_tumor.errors import BundleError, DicomError, ImageError
from monai_tumor.files import write_json
from monai_tumor.inference import Classifier
from monai_tumor.training import one_line_errors

_PICTURES = (
    *(Path(skimage.__file__).parent / "data").glob("*.[jp][pn]g"),
    *(Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg"),
)
_LEFT_OUT = ("phantom.png",)
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Rate:
    """What the gate did with one kind of picture.

    Attributes:
        kind: in words.
        refuse: whether it should refuse.
        count: pictures.
        refused: of them.
        views: view -> how many were too far in it.
    """

    kind: str
    refuse: bool
    count: int
    refused: int
    views: dict[str, int]

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        low, high = self._interval()
        return {**asdict(self), "rate": self.refused / self.count, "low": low, "high": high}

    def __str__(self) -> str:
        """One line."""
        low, high = (100 * share for share in self._interval())
        views = ", ".join(f"{name} {number}" for name, number in self.views.items())
        return (
            f"{self.kind:<44}{'refuse' if self.refuse else 'accept'}  refused"
            f" {self.refused:>5} of {self.count:<5} {100 * self.refused / self.count:6.2f}%"
            f" [{low:.2f}, {high:.2f}]  ({views})"
        )

    def _interval(self) -> tuple[float, float]:
        found = binomtest(self.refused, self.count).proportion_ci()
        return float(found.low), float(found.high)


def main() -> None:
    """Measure, print a line a kind, and write JSON where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="exported, with their gate")
    parser.add_argument("--accept", type=Path, nargs="*", default=[], help="slices of its own kind")
    parser.add_argument("--reject", type=Path, nargs="*", default=[], help="slices of another kind")
    parser.add_argument("--crops", type=int, default=500)
    parser.add_argument("--others", type=int, default=100, help="of noise, and of text")
    parser.add_argument("--slices", type=int, default=2000, help="at most, of each folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, help="JSON file")
    given = parser.parse_args()
    classifier = Classifier(weights=given.weights)
    random = np.random.default_rng(given.seed)
    kinds: dict[str, Iterator[Pixels]] = {
        "photographs and the like": (crop(random) for _ in range(given.crops)),
        "noise": (noise(random) for _ in range(given.others)),
        "text": (text(random) for _ in range(given.others)),
    }
    rates = []
    for kind, pictures in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{n:04d}.png" for n in range(max(given.crops, given.others))]
            used = [save(one, file) for one, file in zip(pictures, files, strict=False)]
            rates.append(measured(classifier, kind, True, [{"image": str(f)} for f in used]))
    for folder, refuse in [(f, True) for f in given.reject] + [(f, False) for f in given.accept]:
        items = slices_to_classify(folder)
        chosen = random.permutation(len(items))[: given.slices]
        rates.append(measured(classifier, folder.name, refuse, [items[n] for n in chosen]))
    whole = rates[: len(kinds)]
    made = Rate(
        "crops, noise and text together",
        True,
        sum(rate.count for rate in whole),
        sum(rate.refused for rate in whole),
        {name: sum(rate.views[name] for rate in whole) for name in whole[0].views},
    )
    rates.insert(len(kinds), made)
    for rate in rates:
        print(rate, flush=True)
    if given.output is not None:
        record = {"weights": classifier.provenance["weights"], "seed": given.seed}
        write_json(given.output, {**record, "rates": [rate.as_dict() for rate in rates]})


def measured(
    classifier: Classifier, kind: str, refuse: bool, items: Sequence[dict[str, object]]
) -> Rate:
    """The gate's verdicts on some slices; damaged files do not count."""
    verdicts = []
    for item in items:
        try:
            verdict = classifier(item).verdict
        except (ImageError, DicomError) as error:
            print(f"left out: {error}", flush=True)
            continue
        if verdict is None:
            raise BundleError("These weights bring no gate; export them with export_slice_weights.")
        verdicts.append(verdict)
    views = {name: sum(v.distances[name] > 1 for v in verdicts) for name in verdicts[0].distances}
    return Rate(kind, refuse, len(verdicts), sum(not v.accepted for v in verdicts), views)


def save(pixels: Pixels, path: Path) -> Path:
    """As PNG; returns the path."""
    Image.fromarray(pixels).save(path)
    return path


def crop(random: np.random.Generator) -> Pixels:
    """A square of one of the pictures, of 64 pixels or more a side."""
    pictures = sorted(path for path in _PICTURES if path.name not in _LEFT_OUT)
    with Image.open(pictures[random.integers(len(pictures))]) as opened:
        picture = np.asarray(opened.convert("RGB"))
    rows, columns = picture.shape[:2]
    side = int(random.integers(min(64, rows, columns), min(rows, columns) + 1))
    top, left = (int(random.integers(0, n - side + 1)) for n in (rows, columns))
    return picture[top : top + side, left : left + side]


def noise(random: np.random.Generator) -> Pixels:
    """White, smooth, sparse or dark noise, as chance has it."""
    shape = (int(random.integers(96, 320)),) * 2
    kinds: tuple[Callable[[], NDArray[np.floating]], ...] = (
        lambda: random.random(shape),
        lambda: 0.5 + 0.2 * random.normal(size=shape),
        lambda: _stretched(
            ndimage.gaussian_filter(random.normal(size=shape), random.uniform(1, 12))
        ),
        lambda: (random.random(shape) < random.uniform(0.02, 0.3)).astype(float),
        lambda: np.abs(random.normal(0, random.uniform(0.02, 0.2), shape)),
    )
    made = kinds[random.integers(len(kinds))]()
    return np.rint(255 * np.clip(made, 0, 1)).astype(np.uint8)


def text(random: np.random.Generator) -> Pixels:
    """A page of words by chance, dark on light or light on dark."""
    side, points = int(random.integers(160, 400)), int(random.integers(9, 32))
    paper, ink = (255, 0) if random.random() < 0.5 else (0, 255)
    page = Image.new("L", (side, side), paper)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(points)
    letters = np.array([*string.ascii_letters, *string.digits])
    for top in range(4, side - points, round(1.3 * points)):
        words = ("".join(random.choice(letters, random.integers(2, 10))) for _ in range(40))
        pen.text((6, top), " ".join(words), ink, font)
    return np.asarray(page)


def _stretched(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return (values - values.min()) / np.ptp(values)


if __name__ == "__main__":
    one_line_errors()
    main()
