"""Voxels on another grid, against MONAI's own and against numbers worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, CropForeground, Orientation, Spacing, SpatialResample

from monai_tumor.imaging import resampling

TURNS = st.permutations(range(3))
SIGNS = st.tuples(*[st.sampled_from((1, -1))] * 3)
SIZES = st.tuples(*[st.integers(1, 9)] * 3)
SPACINGS = st.tuples(*[st.floats(0.5, 3.0)] * 3)
PLACES = st.tuples(*[st.floats(-6, 6)] * 3)


def affine(spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), turn=(0, 1, 2), signs=(1, 1, 1)):
    """Voxel axis n runs along world axis turn[n]."""
    made = torch.zeros(4, 4, dtype=torch.float64)
    for axis, (world, sign) in enumerate(zip(turn, signs, strict=True)):
        made[world, axis] = sign * spacing[axis]
    made[:3, 3] = torch.tensor(origin, dtype=torch.float64)
    made[3, 3] = 1
    return made


def tilted(degrees, spacing=(1.0, 1.0, 1.0)):
    a = np.deg2rad(degrees)
    made = affine()
    made[:2, :2] = torch.tensor([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    made[:3, :3] *= torch.tensor(spacing)
    return made


def noise(shape, grid, channels=2):
    values = torch.randn(channels, *shape, generator=torch.Generator().manual_seed(0))
    return MetaTensor(values, affine=grid)


def world(shape, grid):
    """Where each voxel of a grid lies: [3, X, Y, Z], mm."""
    index = torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"))
    places = torch.tensordot(grid[:3, :3], index.double(), dims=1)
    return places + grid[:3, 3][:, None, None, None]


def resampled(volume, grid, shape):
    """MONAI's: the whole of both grids at once, in float64."""
    resample = SpatialResample(mode="bilinear", padding_mode="zeros", dtype=torch.float64)
    return resample(volume, dst_affine=grid, spatial_size=shape).as_tensor().float()


def on_grid(volume, grid, shape):
    made = resampling.on_grid(volume.as_tensor(), volume.affine, grid, shape)
    return MetaTensor(made, affine=grid)


# -- against MONAI


@settings(max_examples=150, deadline=None)
@given(
    *(SIZES, SPACINGS, PLACES, TURNS, SIGNS),
    *(SIZES, SPACINGS, PLACES, TURNS, SIGNS),
)
def test_is_spatial_resample_for_any_turned_grids(
    size, spacing, origin, turn, signs, size2, spacing2, origin2, turn2, signs2
):
    # MONAI maps a single voxel to the whole of an axis, so that nothing can be compared there.
    assume(min(size) > 1 and min(size2) > 1)
    volume = noise(size, affine(spacing, origin, turn, signs))
    grid = affine(spacing2, origin2, turn2, signs2)
    made = on_grid(volume, grid, size2)
    assert made.shape == (2, *size2)
    assert torch.equal(made.affine, grid)
    torch.testing.assert_close(made.as_tensor(), resampled(volume, grid, size2), atol=2e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    *(st.tuples(*[st.floats(0.7, 3.0)] * 3), PLACES, TURNS, SIGNS),
    *(st.floats(0.7, 2.0), st.integers(0, 1)),
)
def test_undoes_the_transforms_of_a_bundle(spacing, origin, turn, signs, target, margin):
    """As MONAI's own inverse does step by step: pad the crop, resample, turn."""
    grid, shape = affine(spacing, origin, turn, signs), (16, 17, 18)
    inside = torch.zeros(1, *shape)
    inside[:, 6:10, 6:11, 6:12] = 1
    before = Compose(
        [
            Orientation("RAS", labels=None),
            Spacing((target,) * 3, mode="bilinear"),
            CropForeground(select_fn=lambda x: x[-1:] > 0, margin=margin, allow_smaller=True),
        ]
    )
    cropped = before(MetaTensor(torch.cat([noise(shape, grid).as_tensor(), inside]), affine=grid))
    made, undone = on_grid(cropped, grid, shape), before.inverse(cropped)
    assert undone.shape == made.shape
    assert made.any()
    torch.testing.assert_close(made.as_tensor(), undone.as_tensor(), atol=1e-4, rtol=0)


# -- by hand


def test_the_same_grid_is_exact():
    volume = noise((5, 4, 3), affine((1.5, 0.7, 2.0), (3.1, -20.4, 7.7)))
    assert torch.equal(on_grid(volume, volume.affine, (5, 4, 3)).as_tensor(), volume.as_tensor())


@pytest.mark.parametrize("turn", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_turned_and_shifted_by_whole_voxels_is_exact(turn):
    """A network's grid within a file's: values, not interpolations of them."""
    spacing = 0.9375  # as scanners have it
    volume = noise((4, 5, 6), affine((spacing,) * 3, [2 * spacing, spacing, 3 * spacing]))
    flipped = affine((spacing,) * 3, [spacing * n for n in (9, 9, 11)], turn, (-1, -1, -1))
    shape = [(10, 10, 12)[world_axis] for world_axis in turn]
    made = on_grid(volume, flipped, shape).as_tensor()
    expected = torch.zeros(2, 10, 10, 12)
    expected[:, 2:6, 1:6, 3:9] = volume.as_tensor()
    expected = expected.flip(1, 2, 3).permute(0, *(1 + axis for axis in turn))
    assert torch.equal(made, expected)


@settings(max_examples=100, deadline=None)
@given(SPACINGS, PLACES, TURNS, SIGNS, SPACINGS, PLACES, TURNS, SIGNS)
def test_a_linear_function_of_world_is_exact_inside(
    spacing, origin, turn, signs, spacing2, origin2, turn2, signs2
):
    small, large = affine(spacing, origin, turn, signs), affine(spacing2, origin2, turn2, signs2)
    shape, shape2 = (6, 5, 7), (8, 7, 6)
    weights = torch.tensor([0.3, -1.1, 0.7], dtype=torch.float64)

    def linear(size, grid):
        return (torch.tensordot(weights, world(size, grid), dims=1) + 2)[None]

    volume = MetaTensor(linear(shape, small).float(), affine=small)
    made = on_grid(volume, large, shape2).as_tensor()
    place = world(shape2, large)
    ends = torch.stack([world(shape, small)[:, 0, 0, 0], world(shape, small)[:, -1, -1, -1]])
    low, high = (e[:, None, None, None] for e in (ends.amin(0), ends.amax(0)))
    inside = ((place >= low) & (place <= high)).all(0)
    voxel = torch.zeros(3, dtype=torch.float64)
    voxel[list(turn)] = torch.tensor(spacing, dtype=torch.float64)
    voxel = voxel[:, None, None, None]
    outside = ((place <= low - voxel - 1e-3) | (place >= high + voxel + 1e-3)).any(0)
    torch.testing.assert_close(
        made[0][inside], linear(shape2, large)[0][inside].float(), atol=1e-4, rtol=0
    )
    assert torch.equal(made[0][outside], torch.zeros(int(outside.sum())))


def test_fades_to_zero_over_one_voxel():
    """Voxels of 2 mm at 0 and 2 mm, asked for every half millimetre."""
    volume = MetaTensor(torch.tensor([4.0, 8.0])[None, :, None, None], affine=affine((2.0, 1, 1)))
    made = on_grid(volume, affine((0.5, 1, 1), (-2.5, 0, 0)), (15, 1, 1))
    assert made[0, :, 0, 0].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 4, 2, 0, 0]


@pytest.mark.parametrize("far", [50.0, -50.0])
def test_a_grid_that_is_elsewhere_is_zero(far):
    volume = noise((3, 3, 3), affine())
    made = on_grid(volume, affine(origin=(0, far, 0)), (4, 5, 6))
    assert made.shape == (2, 4, 5, 6)
    assert not made.any()


@pytest.mark.parametrize("degrees", [10, 45, 60, -30])
def test_oblique_grids_are_interpolated_too(degrees):
    volume = noise((12, 12, 5), affine((1.5, 1.5, 1.5), (-8, -8, -3)))
    grid = tilted(degrees, (1.0, 1.2, 1.0))
    made = on_grid(volume, grid, (9, 8, 7)).as_tensor()
    assert made.dtype is torch.float32
    assert made.any()
    torch.testing.assert_close(made, resampled(volume, grid, (9, 8, 7)), atol=2e-5, rtol=0)


def test_a_tilt_within_rounding_takes_the_short_way(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("SpatialResample")

    monkeypatch.setattr("monai.transforms.SpatialResample", refuse)
    volume = noise((6, 6, 6), affine())
    made = on_grid(volume, tilted(1e-4), (6, 6, 6))
    torch.testing.assert_close(made.as_tensor(), volume.as_tensor(), atol=1e-3, rtol=0)
    with pytest.raises(AssertionError, match="SpatialResample"):
        on_grid(volume, tilted(1.0), (6, 6, 6))


# -- another spacing


@settings(max_examples=150, deadline=None)
@given(
    *(SIZES, SPACINGS, PLACES, TURNS, SIGNS),
    *(SPACINGS, st.floats(-20, 20)),
)
def test_another_spacing_is_as_monai_makes_it_bit_for_bit(
    size, spacing, origin, turn, signs, wanted, degrees
):
    assume(min(size) > 1)
    grid = tilted(degrees) @ affine(spacing, origin, turn, signs)
    volume = noise(size, grid)
    expected = Spacing(wanted, mode="bilinear", dtype=torch.float32)(volume)
    made, own = resampling.to_spacing(volume.as_tensor(), grid.numpy(), wanted)
    assert torch.equal(made, expected.as_tensor())
    np.testing.assert_allclose(own, expected.affine.numpy(), atol=1e-9)


def test_a_spacing_that_is_there_already_changes_nothing():
    grid = affine((2.0, 2.0005, 2.0))
    volume = noise((4, 5, 6), grid).as_tensor()
    made, own = resampling.to_spacing(volume, grid.numpy(), (2.0, 2.0, 2.0))
    assert torch.equal(made, volume)
    assert np.array_equal(own, grid.numpy())
