"""Twins against correlations worked out by numpy alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from monai_tumor.data.slices import TWIN, find_slices, find_twins, fingerprint
from monai_tumor.data.slices.fingerprints import SIDE, thumb
from monai_tumor.data.slices.twins import TURNS, components, forest, turn
from monai_tumor.errors import InputError
from slices.small_slices import folders, save, texture


def printed(root):
    return fingerprint(find_slices(root))


def test_thumbs_correlate(tmp_path):
    folders(tmp_path, 3)
    prints = printed(tmp_path)
    assert prints.thumbs.shape == (6, SIDE * SIDE)
    small = [
        np.asarray(
            Image.fromarray(np.asarray(Image.open(i.path), np.float32)).resize(
                (SIDE, SIDE), Image.Resampling.BOX
            )
        ).ravel()
        for i in prints.dataset.items
    ]
    assert prints.thumbs @ prints.thumbs.T == pytest.approx(np.corrcoef(small), abs=1e-5)


def test_a_picture_that_shows_nothing_resembles_none(tmp_path):
    for number, value in enumerate((0, 80, 255)):
        save(tmp_path / "a" / f"{number}.png", np.full((50, 50), value, np.uint8))
    assert not printed(tmp_path).thumbs.any()
    assert len(find_twins([printed(tmp_path)], at=0.0).pairs) == 0


def test_corrupt_files_are_left_out_by_name(tmp_path):
    folders(tmp_path, 2)
    (tmp_path / "none" / "0.png").write_bytes(b"no")
    seen = []
    prints = fingerprint(find_slices(tmp_path), on_read=lambda *step: seen.append(step[1:]))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(prints.dataset) == 3
    assert str(prints.dataset.left_out[0]).startswith("none/0.png cannot be read")
    for path in tmp_path.glob("*/*"):
        path.write_bytes(b"no")
    with pytest.raises(InputError, match="None of 4 slices can be read"):
        printed(tmp_path)


def test_every_kind_of_twin(tmp_path):
    one, other = texture(0), texture(1)
    save(tmp_path / "a" / "0.png", one)
    save(tmp_path / "a" / "1_bytes.png", one)
    save(tmp_path / "a" / "2_pixels.bmp", one)
    bright = np.clip(one * 0.6 + 40, 0, 255).astype(np.uint8)
    larger = np.asarray(Image.fromarray(bright).resize((150, 90)))
    save(tmp_path / "a" / "3_near.jpg", larger, quality=60)
    save(tmp_path / "a" / "4_mirrored.png", one[:, ::-1])
    save(tmp_path / "a" / "5_turned.png", np.rot90(one))
    save(tmp_path / "a" / "6_other.png", other)
    found = find_twins([printed(tmp_path)])
    assert found.files.tolist() == [0, 0, 1, 2, 3, 4, 5]
    assert found.pictures.tolist() == [0, 0, 0, 1, 2, 3, 4]
    named = {
        tuple(pair): TURNS[how] for pair, how in zip(found.pairs.tolist(), found.turns, strict=True)
    }
    assert named[0, 1] == "same"
    assert named[0, 2] == "mirrored"
    assert named[0, 3] == "rotated by 90"
    assert len(named) == 6  # every two of the four
    assert (found.correlations >= TWIN).all()
    assert len(find_twins([printed(tmp_path)], turned=False).pairs) == 1


@pytest.mark.parametrize("how", range(8))
def test_turns_are_what_they_are_called(how):
    by_hand = {
        "same": lambda x: x,
        "upside down": np.flipud,
        "mirrored": np.fliplr,
        "rotated by 180": lambda x: np.rot90(x, 2),
        "transposed": np.transpose,
        "rotated by 90": np.rot90,
        "rotated by 270": lambda x: np.rot90(x, 3),
        "transposed and rotated by 180": lambda x: np.rot90(x.T, 2),
    }
    picture = texture(3).astype(np.float32)
    turned = turn(thumb(picture)[None], how)[0]
    expected = thumb(np.ascontiguousarray(by_hand[TURNS[how]](picture)))
    assert turned == pytest.approx(expected, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 0.99))
def test_the_hash_misses_no_pair(seed, at):
    """Against all correlations in all eight turns."""
    random = np.random.default_rng(seed)
    base = [texture(int(n)) for n in random.integers(0, 5, 12)]
    mixed = [b + random.normal(0, random.uniform(0, 120), b.shape) for b in base]
    thumbs = np.stack([thumb(np.asarray(m, np.float32)) for m in mixed])
    prints = _Prints(thumbs)
    found = find_twins([prints], at=at)
    every = np.stack([turn(thumbs, how) @ thumbs.T for how in range(8)]).max(axis=0)
    sure = np.argwhere(np.triu(every >= at + 1e-5, 1)).tolist()
    perhaps = np.argwhere(np.triu(every >= at - 1e-5, 1)).tolist()
    pairs = found.pairs.tolist()
    assert all(pair in pairs for pair in sure)
    assert all(pair in perhaps for pair in pairs)


class _Prints:
    """Fingerprints of pictures that are all different."""

    def __init__(self, thumbs):
        self.thumbs = thumbs
        self.files = self.pixels = tuple(str(n) for n in range(len(thumbs)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 0.9))
def test_the_forest_makes_the_same_clusters_as_all_pairs(seed, at):
    rows = np.random.default_rng(seed).normal(size=(30, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    products = rows @ rows.T
    pairs, correlations = forest(rows, 0.0)
    assert len(pairs) < len(rows)
    every = np.argwhere(np.triu(products >= at, 1))
    few = pairs[correlations >= at]
    one, other = components(30, every), components(30, few)
    same = one[:, None] == one[None]
    assert (same == (other[:, None] == other[None])).all()
