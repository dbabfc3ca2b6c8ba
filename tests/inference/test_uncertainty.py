"""Entropy and disagreement by hand."""

import pytest
import torch

from monai_tumor.inference.uncertainty import uncertainty


def test_sure_and_undecided():
    output = torch.full((3, 2, 1, 1), 30.0)
    assert uncertainty(output) == (0.0, None)
    output[0] = 0.0  # TC undecided: one bit in one of three regions
    assert uncertainty(output)[0] == pytest.approx(1 / 3, abs=1e-4)


def test_only_voxels_that_are_tumour_count():
    output = torch.zeros(6, 2, 1, 1)
    output[:3, 0], output[:3, 1] = 30.0, -1.0
    output[3:, 0], output[3:, 1] = 0.2, 0.5
    assert uncertainty(output) == (0.0, pytest.approx(0.2))


def test_no_tumour():
    assert uncertainty(torch.full((6, 2, 2, 2), -1.0)) == (None, None)
