"""Studies that look like the training, and one that does not."""

import numpy as np
import pytest

from monai_tumor.inference.likeness import appearance, check_likeness, ranges


def images(seed, mixing):
    """Four images of noise in a box, [4, 12, 12, 12]; `mixing` says how they hang together."""
    noise = np.random.default_rng(seed).normal(size=(4, 1000))
    values = np.asarray(mixing, float) @ noise
    values = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    out = np.zeros((4, 12, 12, 12), np.float32)
    out[:, 1:11, 1:11, 1:11] = values.reshape(4, 10, 10, 10)
    return out


ALIKE = np.eye(4) + np.eye(4, k=1)  # each modality has something of the next
SEEN = ranges([appearance(images(seed, ALIKE)) for seed in range(5)])


def test_numbers_worked_out_otherwise():
    image = images(0, ALIKE)
    found = appearance(image)
    inside = image[:, 1:11, 1:11, 1:11].reshape(4, -1)
    assert found["t1c percentile 50"] == pytest.approx(np.median(inside[1]), abs=1e-3)
    assert found["correlation of t1n and t1c"] == pytest.approx(0.5, abs=0.1)  # 1 / (sqrt 2)^2
    assert len(found) == 4 * 3 + 6


def test_one_more_of_the_same_kind_has_no_flag():
    assert check_likeness(images(99, ALIKE), SEEN) == ()


def test_modalities_that_were_exchanged():
    (flag,) = check_likeness(images(99, ALIKE)[[2, 1, 0, 3]], SEEN)
    assert flag.name == "unlike-training"
    assert "correlation of" in flag.found
    assert "in training" in flag.found


def test_nothing_is_said_without_a_record_or_a_brain():
    assert check_likeness(images(0, np.eye(4)), {}) == ()
    assert check_likeness(np.zeros((4, 3, 3, 3), np.float32), SEEN) == ()


def test_a_modality_of_one_value_is_a_flag_and_no_failure():
    image = images(0, ALIKE)
    image[3] = image[3] != 0
    assert check_likeness(image, SEEN)
