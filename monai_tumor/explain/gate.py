"""A gate that refuses what is not such a slice: photographs, noise, text, another organ.

A classifier gives every picture a class. The gate holds a picture against those that were trained
on, in three views: the features before the network's last layer, simple statistics of its pixels,
and its layout, a small grey copy. In each view the training slices are Gaussians of one covariance,
one a class, and the distance is Mahalanobis's to the nearest of them (Lee et al., A simple unified
framework for detecting out-of-distribution samples, 2018). A picture farther than nearly all
slices that were held back in any view is refused.

Slices of another organ, cut and windowed alike, are near in all three views: of lung CT a gate for
brain MRI refused none. Where such slices can be had, a linear discriminant of layout and statistics
is a fourth view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from monai_tumor.errors import BundleError, InputError
from monai_tumor.files import sha256, write_atomically
from monai_tumor.networks.weights import read_weights

VIEWS = ("features", "statistics", "layout")
OTHERS = "others"  # the fourth view, where there is one
REFUSED = 0.03  # share of held-back slices that the thresholds may refuse
_LAYOUT = 16  # rows and columns of the small copy
_SLACK = 1.02  # on each threshold, for slices not seen yet
_OTHERS_REFUSED = 0.005  # share of held-back slices that the fourth view may refuse
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """Gaussians of one covariance in one view.

    Attributes:
        means: one a class, whitened, [classes, F].
        whitening: [F, F]; features times it have unit covariance.
        threshold: of the distance, in standard deviations of one direction.
    """

    means: Floats
    whitening: Floats
    threshold: float

    def distance(self, values: Floats) -> Floats:
        """To the nearest class, root mean square over directions, [N] of [N, F]."""
        white = values @ self.whitening
        squared = np.stack([np.square(white - mean).mean(axis=1) for mean in self.means])
        return np.asarray(np.sqrt(squared.min(axis=0)))


@dataclass(frozen=True)
class Discriminant:
    """A plane between slices like those trained on and slices of other kinds.

    Attributes:
        weights: of layout and statistics, [F].
        bias: added; above 0 lies another kind.
    """

    weights: Floats
    bias: float

    def distance(self, values: Floats) -> Floats:
        """0 to 2, above 1 for another kind, [N] of [N, F]."""
        score = np.clip(values @ self.weights + self.bias, -50, 50)
        return np.asarray(2 / (1 + np.exp(-score)))


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one picture.

    Attributes:
        accepted: whether it looks like the slices of the training.
        distances: view -> distance over threshold; above 1 is too far.
    """

    accepted: bool
    distances: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        rounded = {view: round(value, 4) for view, value in self.distances.items()}
        return {"accepted": self.accepted, "distances": rounded}

    def __str__(self) -> str:
        """Such as `accepted`, or `refused (statistics 3.1, layout 1.4; 1 is the limit)`."""
        if self.accepted:
            return "accepted"
        far = [f"{view} {value:.1f}" for view, value in self.distances.items() if value > 1]
        return f"refused ({', '.join(far)}; 1 is the limit)"


@dataclass(frozen=True)
class Gate:
    """Fitted views.

    Attributes:
        views: name -> Gaussians and threshold.
        others: tells slices of other kinds; None where it was fitted without any.
    """

    views: Mapping[str, View]
    others: Discriminant | None = None

    def judge(self, features: Floats, pictures: NDArray[np.uint8]) -> list[Verdict]:
        """A verdict a picture.

        Args:
            features: before the network's last layer, [N, F].
            pictures: grey, as prepared for the network, [N, H, W].
        """
        values = views_of(features, pictures)
        ratios = {
            name: view.distance(values[name]) / view.threshold for name, view in self.views.items()
        }
        if self.others is not None:
            ratios[OTHERS] = self.others.distance(_of_pixels(values))
        return [
            Verdict(
                all(r[n] <= 1 for r in ratios.values()), {k: float(r[n]) for k, r in ratios.items()}
            )
            for n in range(len(pictures))
        ]

    def save(self, path: Path) -> dict[str, Any]:
        """Write it as safetensors; returns file and SHA-256, for the record beside the weights."""
        from safetensors.torch import save_file

        tensors: dict[str, torch.Tensor] = {}
        for name, view in self.views.items():
            tensors[f"{name}.means"] = torch.from_numpy(view.means).float().contiguous()
            tensors[f"{name}.whitening"] = torch.from_numpy(view.whitening).float().contiguous()
            tensors[f"{name}.threshold"] = torch.tensor([view.threshold], dtype=torch.float32)
        if self.others is not None:
            tensors[f"{OTHERS}.weights"] = torch.from_numpy(self.others.weights).float()
            tensors[f"{OTHERS}.bias"] = torch.tensor([self.others.bias], dtype=torch.float32)
        write_atomically(path, lambda temporary: save_file(tensors, temporary))
        return {"file": path.name, "sha256": sha256(path)}

    @classmethod
    def load(cls, path: Path, recorded: str | None = None) -> "Gate":
        """What `save` wrote.

        Args:
            path: the file.
            recorded: SHA-256 it must have.

        Raises:
            BundleError: no such file, another than recorded, or it holds no gate.
        """
        tensors = read_weights(path)
        if recorded is not None and sha256(path) != recorded:
            raise BundleError(
                f"{path} is not the gate that the weights' record names (SHA-256 differs); fetch or"
                " train both again."
            )
        others = None
        if f"{OTHERS}.weights" in tensors and f"{OTHERS}.bias" in tensors:
            weights = tensors[f"{OTHERS}.weights"].double().numpy()
            others = Discriminant(weights, float(tensors[f"{OTHERS}.bias"]))
        try:
            return cls(
                {
                    name: View(
                        tensors[f"{name}.means"].double().numpy(),
                        tensors[f"{name}.whitening"].double().numpy(),
                        float(tensors[f"{name}.threshold"]),
                    )
                    for name in VIEWS
                },
                others,
            )
        except KeyError as error:
            raise BundleError(f"{path} holds no gate: {error} is missing.") from None


def fit_gate(
    features: Floats,
    pictures: NDArray[np.uint8],
    labels: Sequence[int] | NDArray[np.int64],
    held_features: Floats,
    held_pictures: NDArray[np.uint8],
    refused: float = REFUSED,
    others: NDArray[np.uint8] | None = None,
) -> Gate:
    """A gate that accepts slices like these.

    Args:
        features: of slices trained on, before the network's last layer, [N, F].
        pictures: the same slices, grey, as prepared for the network, uint8 [N, H, W].
        labels: their classes, [N].
        held_features: of slices that were not trained on; the thresholds are theirs.
        held_pictures: likewise.
        refused: share of the held-back slices that may be refused; the fourth view may refuse a
            two-hundredth more.
        others: slices of other kinds, such as another organ's, prepared alike, [M, H, W].

    Raises:
        InputError: too few slices.
    """
    numbers = np.asarray(labels)
    if len(numbers) < 10 or len(held_features) < 10:
        raise InputError(
            f"A gate needs 10 slices to fit and 10 held back; there are {len(numbers)} and"
            f" {len(held_features)}."
        )
    values, held = views_of(features, pictures), views_of(held_features, held_pictures)
    fitted = {name: _fitted(values[name], numbers) for name in VIEWS}
    distances = {name: fitted[name].distance(held[name]) for name in VIEWS}
    for kept in np.linspace(1, 1 - refused, 61)[::-1]:  # the strictest that refuses few enough
        thresholds = {name: _SLACK * float(np.quantile(d, kept)) for name, d in distances.items()}
        out = np.any([distances[name] > thresholds[name] for name in VIEWS], axis=0)
        if out.mean() <= refused:
            break
    views = {name: View(v.means, v.whitening, thresholds[name]) for name, v in fitted.items()}
    if others is None:
        return Gate(views)
    if len(others) < 10:
        raise InputError(f"A gate needs 10 slices of other kinds; there are {len(others)}.")
    apart = _of_pixels(views_of(np.zeros((len(others), 1)), others))
    return Gate(views, _between(_of_pixels(values), apart, _of_pixels(held)))


def views_of(features: Floats, pictures: NDArray[np.uint8]) -> dict[str, Floats]:
    """View -> numbers, [N, F]."""
    layout = np.stack([_layout(one) for one in pictures])
    numbers = np.stack([_statistics(one) for one in pictures])
    return {"features": np.asarray(features, np.float64), "statistics": numbers, "layout": layout}


def _of_pixels(values: Mapping[str, Floats]) -> Floats:
    """What the discriminant looks at: layout and statistics, [N, F]."""
    return np.concatenate([values["layout"], values["statistics"]], axis=1)


def _between(own: Floats, apart: Floats, held: Floats) -> Discriminant:
    """Fisher's discriminant, its covariance shrunk, moved until it refuses few held-back slices."""
    mean, spread = own.mean(axis=0), np.sqrt((own.var(axis=0) + apart.var(axis=0)) / 2)
    spread = np.maximum(spread, 0.05 * np.median(spread)) + 1e-6  # a pixel can be black in all
    near, far = (own - mean) / spread, (apart - mean) / spread
    covariance = (np.cov(near.T) + np.cov(far.T)) / 2
    width = len(covariance)
    covariance = 0.9 * covariance + 0.1 * np.eye(width) * np.trace(covariance) / width
    weights = np.linalg.solve(covariance, far.mean(axis=0) - near.mean(axis=0))
    middle = weights @ (near.mean(axis=0) + far.mean(axis=0)) / 2
    scores = (held - mean) / spread @ weights
    cut = max(float(middle), float(np.quantile(scores, 1 - _OTHERS_REFUSED)))
    return Discriminant(weights / spread, -cut - float(weights @ (mean / spread)))


def _layout(picture: NDArray[np.uint8]) -> Floats:
    small = Image.fromarray(picture).resize((_LAYOUT, _LAYOUT), Image.Resampling.BOX)
    return np.asarray(small, np.float64).ravel() / 255


def _statistics(picture: NDArray[np.uint8]) -> Floats:
    """Of grey, edges, border, symmetry and texture; each of an order of 1."""
    grey = picture.astype(np.float64) / 255
    edges = np.hypot(*np.gradient(grey))
    ring = np.ones(grey.shape, bool)
    width = max(grey.shape[0] // 16, 1)
    ring[width:-width, width:-width] = False
    corner = max(grey.shape[0] // 8, 1)
    corners = [grey[r, c] for r in (slice(corner), slice(-corner, None))
               for c in (slice(corner), slice(-corner, None))]  # fmt: skip
    fine = (
        grey
        - np.asarray(
            Image.fromarray(picture)
            .resize((grey.shape[1] // 2, grey.shape[0] // 2), Image.Resampling.BOX)
            .resize(grey.shape[::-1], Image.Resampling.BILINEAR),
            np.float64,
        )
        / 255
    )
    histogram = np.histogram(grey, 32, (0, 1))[0] / grey.size
    mirrored = np.abs(grey - grey[:, ::-1]).mean()
    return np.array(
        [
            grey.mean(),
            grey.std(),
            (grey < 0.06).mean(),
            (grey > 0.9).mean(),
            np.log(edges.mean() + 1e-4),
            np.log(fine.std() + 1e-4),
            grey[ring].mean(),
            grey[ring].std(),
            float(np.mean([one.mean() for one in corners])),
            float(np.max([one.mean() for one in corners])),
            -(histogram * np.log(histogram + 1e-9)).sum(),
            mirrored,
        ]
    )


def _fitted(values: Floats, labels: NDArray[Any]) -> View:
    """Class means and a shrunk covariance, whitened; the threshold comes later."""
    numbers = np.unique(labels)
    means = np.stack([values[labels == n].mean(axis=0) for n in numbers])
    rest = values - means[np.searchsorted(numbers, labels)]
    covariance = rest.T @ rest / max(len(rest) - len(numbers), 1)
    variance = np.diag(covariance).mean()
    count, width = rest.shape
    shrink = min(1.0, 0.01 + width / (10 * count))
    covariance = (1 - shrink) * covariance + shrink * np.diag(np.diag(covariance) + 1e-3 * variance)
    strength, directions = np.linalg.eigh(covariance)
    whitening = directions / np.sqrt(np.maximum(strength, 1e-10))
    return View(means @ whitening, whitening, float("inf"))
