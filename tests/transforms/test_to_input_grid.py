"""ToInputGridd, against numbers worked out by hand."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_tumor.transforms import ToInputGridd


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


def item(volume, grid, shape, **more):
    """What a network's output comes with: the input that it was made of."""
    meta = {"original_affine": grid, "spatial_shape": shape, "filename_or_obj": "in.nii.gz"}
    image = MetaTensor(torch.zeros(volume.shape), affine=volume.affine, meta=meta)
    return {"image": image, "pred": volume} | more


# -- the transform


def test_probabilities_of_logits_half_way_between_voxels():
    """Sigmoid, then interpolation: 0.5 and 0.9 give 0.7, not sigmoid of the mean logit, 0.75."""
    logits = torch.logit(torch.tensor([0.5, 0.9]))[None, :, None, None]
    volume = MetaTensor(logits, affine=affine((2.0, 1, 1)))
    given_item = item(volume, affine(), [3, 1, 1])
    made = ToInputGridd("pred", sigmoid=True)(given_item)["pred"]
    torch.testing.assert_close(made[0, :, 0, 0].as_tensor(), torch.tensor([0.5, 0.7, 0.9]))
    plain = ToInputGridd("pred")(given_item)["pred"]
    assert plain[0, 1, 0, 0] == pytest.approx(np.log(9) / 2)


def test_outside_the_networks_grid_is_no_tumour():
    """0 as a logit would be a probability of one half."""
    volume = MetaTensor(torch.full((3, 2, 2, 2), 5.0), affine=affine(origin=(3, 3, 3)))
    made = ToInputGridd("pred", sigmoid=True)(item(volume, affine(), (8, 8, 8)))["pred"]
    expected = torch.zeros(3, 8, 8, 8)
    expected[:, 3:5, 3:5, 3:5] = torch.tensor(5.0).sigmoid()
    assert torch.equal(made.as_tensor(), expected)


@pytest.mark.parametrize("shape", [[4, 5, 6], torch.tensor([4, 5, 6]), np.array([4, 5, 6])])
@pytest.mark.parametrize("array", [torch.as_tensor, np.asarray])
def test_meta_data_of_any_kind(shape, array):
    """A data loader makes tensors of what readers give as arrays."""
    volume = noise((4, 5, 6), affine())
    made = ToInputGridd("pred")(item(volume, array(affine().numpy()), shape))["pred"]
    assert torch.equal(made.as_tensor(), volume.as_tensor())
    assert made.meta["filename_or_obj"] == "in.nii.gz"
    assert torch.equal(made.affine, affine())


def test_a_network_forgets_where_its_output_lies():
    """The place is that of the input it saw, whatever the output says of itself."""
    volume = noise((4, 4, 4), affine((2.0, 2.0, 2.0)))
    given_item = item(volume, affine(), (7, 7, 7))
    expected = ToInputGridd("pred")(given_item)["pred"]
    for lost in (volume.as_tensor(), MetaTensor(volume.as_tensor(), affine=affine())):
        made = ToInputGridd("pred")(given_item | {"pred": lost})["pred"]
        assert torch.equal(made.as_tensor(), expected.as_tensor())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_gives_float32_and_leaves_the_input(dtype):
    volume = noise((4, 4, 4), affine()).to(dtype)
    before = volume.clone()
    given_item = item(volume, affine(), (4, 4, 4))
    made = ToInputGridd("pred", sigmoid=True)(given_item)["pred"]
    assert made.dtype is torch.float32
    assert torch.equal(made.as_tensor(), before.as_tensor().float().sigmoid())
    assert given_item["pred"] is volume
    assert torch.equal(volume, before)


def test_several_keys_and_another_reference():
    volume = noise((3, 3, 3), affine((2.0, 2.0, 2.0)))
    given_item = item(volume, affine(), (5, 5, 5), spread=volume[:1])
    given_item["source"] = given_item.pop("image")
    made = ToInputGridd(["pred", "spread"], reference="source")(given_item)
    assert made["pred"].shape == (2, 5, 5, 5)
    assert torch.equal(made["pred"][:1].as_tensor(), made["spread"].as_tensor())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_works_on_the_device_of_the_volume():
    volume = noise((4, 5, 6), affine((1.5, 1.5, 1.5)))
    expected = ToInputGridd("pred", sigmoid=True)(item(volume, affine(), (6, 7, 8)))["pred"]
    for degrees in (0, 20):
        given_item = item(volume.cuda(), tilted(degrees), (6, 7, 8))
        made = ToInputGridd("pred", sigmoid=True)(given_item)["pred"]
        assert made.device.type == "cuda"
        if not degrees:
            torch.testing.assert_close(made.cpu().as_tensor(), expected.as_tensor())
