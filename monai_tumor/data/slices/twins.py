"""Which slices are the same picture: exactly, nearly, mirrored or turned; and clusters of them.

A pair is near where its small grey copies correlate by `TWIN` or more. Candidates come from a
perceptual hash, the lowest frequencies of the discrete cosine transform, as in pHash but not cut
down to bits: with the length of what the hash leaves out as one more number, the product of two
hashes is never below the correlation of the pictures (Cauchy-Schwarz), so no pair is missed. And
since mirroring only flips signs of the transform and transposing swaps its axes, all eight ways to
turn a picture cost one transform.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse
from scipy.sparse import csgraph

from monai_tumor.data.slices.fingerprints import SIDE, Fingerprints

# The same picture, saved, scaled, brightened, sharpened or with noise added, correlates above this.
# Looked at in the public sets: above it pairs are copies (or, in CT, neighbouring slices that show
# the same); at 0.96 to 0.98 neighbouring slices of one patient begin. The share of leaking test
# images hardly moves between 0.98 and 0.995 (38% to 36% in one set, 66% in another).
TWIN = 0.985
# How a picture became its twin; the number is 1 for rows reversed, 2 for columns, 4 for transposed.
TURNS = (
    "same",
    "upside down",
    "mirrored",
    "rotated by 180",
    "transposed",
    "rotated by 90",
    "rotated by 270",
    "transposed and rotated by 180",
)
_LOWEST = 10  # rows and columns of the transform that make the hash
_ROWS = 1024  # compared with all others at a time
_ROUNDING = 1e-4  # of float32 products


@dataclass(frozen=True)
class Twins:
    """Which of several data sets' slices are the same picture.

    Slices are numbered through all data sets, in order; slices of equal pixels are one picture.

    Attributes:
        files: number of each slice's file content; [slices].
        pictures: number of each slice's picture; [slices].
        pairs: near pictures, each pair once, the lower number first; [pairs, 2].
        turns: how the first of a pair has to be turned to be the second; index in `TURNS`.
        correlations: of each pair, so turned.
        at: the correlation from which on a pair counts.
    """

    files: NDArray[np.int64]
    pictures: NDArray[np.int64]
    pairs: NDArray[np.int64]
    turns: NDArray[np.int64]
    correlations: NDArray[np.float32]
    at: float


def find_twins(prints: Sequence[Fingerprints], *, at: float = TWIN, turned: bool = True) -> Twins:
    """Every exact and near twin within and between data sets.

    Args:
        prints: one a data set.
        at: least correlation of near twins.
        turned: also pictures mirrored or turned by quarters.
    """
    files = _numbers([content for one in prints for content in one.files])
    pictures = _numbers([content for one in prints for content in one.pixels])
    _, first = np.unique(pictures, return_index=True)
    thumbs = np.concatenate([one.thumbs for one in prints])[first]
    pairs, turns, correlations = _near(thumbs, at, range(len(TURNS) if turned else 1))
    return Twins(files, pictures, pairs, turns, correlations, at)


def turn(thumbs: NDArray[np.float32], how: int) -> NDArray[np.float32]:
    """`thumbs` [slices, 2304] turned by `TURNS[how]`."""
    squares = thumbs.reshape(-1, SIDE, SIDE)
    if how & 4:
        squares = squares.swapaxes(1, 2)
    squares = squares[:, :: -1 if how & 1 else 1, :: -1 if how & 2 else 1]
    return np.ascontiguousarray(squares).reshape(len(thumbs), SIDE * SIDE)


def components(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of the connected component of each of `count` nodes."""
    ones = np.ones(len(pairs), bool)
    graph = sparse.coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return csgraph.connected_components(graph, directed=False)[1].astype(np.int64)


def forest(thumbs: NDArray[np.float32], at: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pairs [pairs, 2] and correlations that join all slices which a chain of `at` or more joins.

    It is a maximum spanning forest: its pairs of c or more make the same clusters as all pairs of
    c or more (single linkage), for every c from `at` on, and there are fewer of them than slices.
    """
    count = len(thumbs)
    kept = np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    for start in range(0, count, _ROWS):
        products = thumbs[start : start + _ROWS] @ thumbs[start:].T
        rows, columns = np.nonzero(np.triu(products >= at, 1))
        pairs = np.concatenate([kept[0], np.stack([rows, columns], 1) + start])
        weights = np.concatenate([kept[1], products[rows, columns]])
        lengths = 2 - weights.astype(np.float64)  # positive, and short where alike
        graph = sparse.coo_matrix((lengths, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
        tree = csgraph.minimum_spanning_tree(graph.tocsr()).tocoo()
        kept = np.stack([tree.row, tree.col], 1).astype(np.int64), (2 - tree.data).astype("f4")
    return kept


def _numbers(contents: Sequence[str]) -> NDArray[np.int64]:
    """0 for the first content, 1 for the next that differs, and so on."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(content, len(known)) for content in contents], np.int64)


def _near(
    thumbs: NDArray[np.float32], at: float, turns: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Pairs, turns and correlations; a pair that is near in several ways, as the first of these."""
    found_pairs, found_turns, found = [], [], []
    for how, pairs in _candidates(thumbs, at, turns):
        products = _products(thumbs, pairs, how)
        near = products >= at
        found_pairs.append(pairs[near])
        found_turns.append(np.full(int(near.sum()), how, np.int64))
        found.append(products[near])
    pairs = np.concatenate(found_pairs)
    order = np.lexsort((np.concatenate(found_turns), pairs[:, 1], pairs[:, 0]))
    pairs = pairs[order]
    new = np.ones(len(pairs), bool)
    new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return pairs[new], np.concatenate(found_turns)[order][new], np.concatenate(found)[order][new]


def _candidates(
    thumbs: NDArray[np.float32], at: float, turns: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Pairs that may be near, by their hashes, for each turn and block of rows."""
    hashes = _hashes(thumbs)
    columns = np.concatenate([hashes[0].reshape(len(thumbs), -1), hashes[1]], axis=1)
    shown = np.asarray(thumbs.any(axis=1))
    signs = (-1.0) ** np.arange(_LOWEST, dtype=np.float32)
    for how in turns:
        low = hashes[0].swapaxes(1, 2) if how & 4 else hashes[0]
        low = low * (signs[:, None] if how & 1 else 1) * (signs[None] if how & 2 else 1)
        turned = np.concatenate([low.reshape(len(thumbs), -1), hashes[1]], axis=1, dtype=np.float32)
        for start in range(0, len(thumbs), _ROWS):
            products = turned[start : start + _ROWS] @ columns[start:].T
            above = np.asarray(products >= at - _ROUNDING)
            above &= shown[start : start + _ROWS, None] & shown[None, start:]
            rows, others = np.nonzero(np.triu(above, 1))
            yield how, np.stack([rows, others], 1).astype(np.int64) + start


def _hashes(thumbs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The lowest frequencies [n, 10, 10], and the length of all others [n, 1]."""
    whole = fft.dctn(thumbs.reshape(-1, SIDE, SIDE), axes=(1, 2), norm="ortho")
    low = np.ascontiguousarray(whole[:, :_LOWEST, :_LOWEST])
    rest = 1 - np.square(low).sum(axis=(1, 2), dtype=np.float64)
    return low, np.sqrt(np.maximum(rest, 0)).astype(np.float32)[:, None]


def _products(
    thumbs: NDArray[np.float32], pairs: NDArray[np.int64], how: int
) -> NDArray[np.float32]:
    parts = [
        np.einsum("ij,ij->i", turn(thumbs[part[:, 0]], how), thumbs[part[:, 1]])
        for part in np.array_split(pairs, max(1, len(pairs) // 4096))
    ]
    return np.concatenate(parts)
