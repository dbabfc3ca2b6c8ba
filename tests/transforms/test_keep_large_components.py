import monai.transforms
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_tumor.errors import InputError, SchemeError
from monai_tumor.transforms.keep_large_components import FilterTumourComponentsd


def prediction(spacing=1.0):
    labels = torch.zeros(1, 12, 12, 12, dtype=torch.uint8)
    labels[0, :5, :5, :5] = 2  # 125 voxels of oedema
    labels[0, 1, 1, 1:3] = 3  # 2 of them enhancing
    labels[0, 10, 10, 10] = 2  # an island
    affine = torch.diag(torch.tensor([-spacing, -spacing, spacing, 1.0]))
    return MetaTensor(labels, affine=affine, meta={"filename_or_obj": "a.nii.gz"})


def test_island_goes_and_doubtful_enhancing_tumour_becomes_core():
    data = {"pred": prediction(), "other": 1}
    out = FilterTumourComponentsd("pred", "brats2023", min_lesion_ml=0.1, min_et_ml=0.003)(data)
    assert out["other"] == 1
    values, counts = np.unique(np.asarray(out["pred"]), return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {0: 1603, 1: 2, 2: 123}
    assert isinstance(out["pred"], MetaTensor)
    assert out["pred"].dtype == torch.uint8
    assert out["pred"].shape == (1, 12, 12, 12)
    assert torch.equal(out["pred"].affine, data["pred"].affine)
    assert out["pred"].meta["filename_or_obj"] == "a.nii.gz"
    assert torch.equal(data["pred"], prediction())


def test_volumes_are_those_of_the_affine():
    keep = FilterTumourComponentsd("pred", "brats2023", min_lesion_ml=0.1, min_et_ml=0.003)
    out = keep({"pred": prediction(spacing=5.0)})["pred"]  # a voxel is 0.125 mL
    assert torch.equal(out, prediction())


def test_zero_switches_off():
    labels = torch.ones(3)  # not even looked at
    assert FilterTumourComponentsd("pred", "msd")({"pred": labels})["pred"] is labels


def test_msd_values():
    labels = torch.where(prediction() == 2, 1, prediction())  # oedema is 1 there
    out = FilterTumourComponentsd("pred", "msd", min_et_ml=1)({"pred": labels})["pred"]
    assert out[0, 1, 1, 1] == 2
    assert (out == 1).sum() == 124


def test_errors_say_what_to_do():
    keep = FilterTumourComponentsd("pred", "msd", min_et_ml=1)
    with pytest.raises(InputError, match=r"'pred' has no affine.*give a MetaTensor"):
        keep({"pred": torch.zeros(1, 2, 2, 2)})
    with pytest.raises(InputError, match=r"must be \[1, X, Y, Z\], found \(3, 2, 2, 2\)"):
        keep({"pred": MetaTensor(torch.zeros(3, 2, 2, 2))})
    with pytest.raises(SchemeError, match="Unknown label scheme 'x'"):
        FilterTumourComponentsd("pred", "x")
    with pytest.raises(KeyError, match="pred"):
        keep({})
    keep = FilterTumourComponentsd("pred", "msd", min_et_ml=1, allow_missing_keys=True)
    assert keep({}) == {}


def test_the_name_is_not_one_of_monai():
    assert not hasattr(monai.transforms, "FilterTumourComponentsd")
