"""A gate for what is no such slice."""

import numpy as np
import pytest
from slice_pictures import picture

from monai_tumor.errors import BundleError, InputError
from monai_tumor.explain import Gate, fit_gate
from monai_tumor.explain.gate import Verdict
from monai_tumor.files import sha256


def features(pictures: np.ndarray) -> np.ndarray:
    """Stand for a network's: means of four quarters."""
    half = pictures.shape[1] // 2
    parts = pictures.reshape(len(pictures), 2, half, 2, half).mean(axis=(2, 4))
    return parts.reshape(len(pictures), 4) / 255


@pytest.fixture(scope="module")
def seen() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.arange(160) % 2
    pictures = np.stack([picture(n, label) for n, label in enumerate(labels)])
    return features(pictures), pictures, labels


@pytest.fixture(scope="module")
def gate(seen) -> Gate:
    x, pictures, labels = seen
    return fit_gate(x[:100], pictures[:100], labels[:100], x[100:130], pictures[100:130])


def test_slices_like_those_trained_on_pass(gate, seen):
    x, pictures, _ = seen
    verdicts = gate.judge(x[130:], pictures[130:])
    assert np.mean([verdict.accepted for verdict in verdicts]) >= 0.8
    assert str(next(verdict for verdict in verdicts if verdict.accepted)) == "accepted"


def test_noise_a_flat_picture_and_text_do_not(gate):
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (20, 48, 48), np.uint8)
    flat = np.full((2, 48, 48), 90, np.uint8)
    page = np.full((1, 48, 48), 255, np.uint8)
    page[:, ::4, 4:40] = 0
    other = np.concatenate([noise, flat, page])
    verdicts = gate.judge(features(other), other)
    assert not any(verdict.accepted for verdict in verdicts)
    assert str(verdicts[0]).startswith("refused (")
    far = Verdict(False, {"statistics": 3.14, "layout": 0.9, "others": 1.36})
    assert str(far) == "refused (statistics 3.1, others 1.4; 1 is the limit)"
    assert max(verdicts[0].as_dict()["distances"].values()) > 1


def test_thresholds_refuse_few_of_those_held_back(gate, seen):
    x, pictures, _ = seen
    held = gate.judge(x[100:130], pictures[100:130])
    assert np.mean([not verdict.accepted for verdict in held]) <= 0.03 + 1e-9


def test_it_survives_a_file_and_another_file_is_refused(gate, seen, tmp_path):
    x, pictures, _ = seen
    record = gate.save(tmp_path / "g.safetensors")
    assert record == {"file": "g.safetensors", "sha256": sha256(tmp_path / "g.safetensors")}
    again = Gate.load(tmp_path / "g.safetensors", record["sha256"])
    for one, other in zip(gate.judge(x, pictures), again.judge(x, pictures), strict=True):
        assert one.distances == pytest.approx(other.distances, rel=1e-3)
    with pytest.raises(BundleError, match="SHA-256 differs"):
        Gate.load(tmp_path / "g.safetensors", "0" * 64)


def upside_down(seen) -> np.ndarray:
    """Of another kind, yet alike in noise and grey: the disc is in the opposite corner."""
    return np.stack([picture(5000 + n, 0)[::-1, ::-1] for n in range(60)])


def test_another_kind_that_was_shown_is_refused(gate, seen, tmp_path):
    x, pictures, labels = seen
    others = upside_down(seen)
    parts = x[:100], pictures[:100], labels[:100], x[100:130], pictures[100:130]
    knowing = fit_gate(*parts, others=others[:40])
    fresh = others[40:]
    blind, sharp = (
        [one.distances.get("others", 0) > 1 for one in g.judge(features(fresh), fresh)]
        for g in (gate, knowing)
    )
    assert not any(blind)
    assert all(sharp)
    own = knowing.judge(x[130:], pictures[130:])
    assert not any(verdict.distances["others"] > 1 for verdict in own)
    for one, other in zip(own, gate.judge(x[130:], pictures[130:]), strict=True):
        assert {**one.distances, "others": 0} == {**other.distances, "others": 0}
    knowing.save(tmp_path / "g.safetensors")
    again = Gate.load(tmp_path / "g.safetensors").judge(x, pictures)
    for one, other in zip(again, knowing.judge(x, pictures), strict=True):
        assert one.distances["others"] == pytest.approx(other.distances["others"], abs=1e-3)
    with pytest.raises(InputError, match="10 slices of other kinds; there are 9"):
        fit_gate(*parts, others=others[:9])


def test_what_is_constant_in_the_slices_does_not_outweigh_the_rest(seen):
    """Black above in all, and in all but some of the other kind, whose disc is elsewhere."""
    x, pictures, labels = seen
    own, others = pictures.copy(), upside_down(seen)
    own[:, :3] = others[:, :3] = 0
    others[:40:10, :3] = 200
    gate = fit_gate(x[:100], own[:100], labels[:100], x[100:130], own[100:130], others=others[:40])
    fresh = gate.judge(features(others[40:]), others[40:])
    assert all(verdict.distances["others"] > 1 for verdict in fresh)
    assert not any(v.distances["others"] > 1 for v in gate.judge(x[130:], own[130:]))


def test_too_few_slices_make_no_gate(seen):
    x, pictures, labels = seen
    with pytest.raises(InputError, match="there are 5 and 30"):
        fit_gate(x[:5], pictures[:5], labels[:5], x[:30], pictures[:30])
