"""Inference without MONAI: the same answer, and MONAI wherever a bundle says anything else."""

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from monai_tumor.bundles import bundle_names
from monai_tumor.data import inference_items
from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.errors import BundleError, StudyError
from monai_tumor.inference import Segmenter, direct
from monai_tumor.paths import BUNDLES

ROOT = BUNDLES.parent
OPTIONS = {"trust": True, "device": "cpu", "backend": "torch"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    make = lambda n: make_phantom(n, size="small")  # noqa: E731
    [path] = write_phantoms(folder, count=1, layout="brats2023", make=make)
    return path


@pytest.fixture(scope="module")
def both(tiny_bundle, tmp_path_factory):
    """By MONAI, and by what that kept."""
    cache = tmp_path_factory.mktemp("kept")
    made = [Segmenter(tiny_bundle, cache=cache, **OPTIONS) for _ in range(2)]
    assert [is_direct(one) for one in made] == [False, True]
    return made


def is_direct(segmenter):
    return isinstance(getattr(segmenter._parts.prepare, "__self__", None), direct.Recipe)


def same(one, other):
    return np.array_equal(one.label_map, other.label_map) and np.array_equal(
        one.probabilities, other.probabilities
    )


def turned(study, folder):
    """The study with its axes turned, at another spacing and tilted a little."""
    item = dict(inference_items(study)[0])
    tilt = np.eye(4)
    tilt[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    paths = []
    for path in map(Path, item["image"]):
        image = nib.load(path)
        voxels = np.asarray(image.dataobj)[::-1].transpose(2, 0, 1)
        paths.append(str(folder / path.name))
        affine = tilt @ np.array([[0, -1.1, 0, 30], [0, 0, 1.3, -9], [0.9, 0, 0, 4], [0, 0, 0, 1]])
        nib.save(nib.Nifti1Image(voxels, affine), paths[-1])
    return item | {"image": paths}


def test_the_same_bit_for_bit(both, study, tmp_path):
    assert both[0].provenance == both[1].provenance
    assert list(both[0].provenance) == list(both[1].provenance)
    for item in (inference_items(study)[0], turned(study, tmp_path)):
        one, other = (segmenter(item, probabilities=True) for segmenter in both)
        assert one.label_map.any()
        assert same(one, other)
        assert np.array_equal(one.affine, other.affine)
        assert (one.flags, one.mean_entropy) == (other.flags, other.mean_entropy)


def test_the_same_where_a_brain_fills_several_windows_or_a_part_of_one(both, study, monkeypatch):
    item = inference_items(study)[0]
    sizes = [tuple(segmenter.prepare(item)["grid"].image.shape) for segmenter in both]
    assert sizes[0] == sizes[1]
    grid = both[0].prepare(item)["grid"]
    for size in ((20, 25, 31), (40, 33, 20)):  # the window has 32 voxels an axis
        image = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            one, other = (s._parts.infer(image, s._network) for s in both)
        assert torch.equal(torch.as_tensor(one), other), size
    assert grid.image.shape[0] == 4


def test_the_same_of_an_ensemble_and_its_disagreement(study, tmp_path):
    made = [
        Segmenter("brats_ensemble", device="cpu", backend="torch", cache=tmp_path) for _ in range(2)
    ]
    assert [is_direct(one) for one in made] == [False, True]
    one, other = (segmenter(inference_items(study)[0], probabilities=True) for segmenter in made)
    assert same(one, other)
    assert one.disagreement == other.disagreement is not None


@pytest.mark.parametrize("bundle", [n for n in bundle_names() if n.startswith("brats_")])
def test_every_shipped_bundle_has_the_recipe(bundle):
    assert direct.recipe(bundle) is not None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("overlap", None),
        ("memory_format", "$torch.contiguous_format"),
        ("spacing", [1.5, 1.5, 1.5]),
        ("network", "$monai_tumor.networks.with_dropout(@network_def)"),
        ("load", []),
        ("weights", "model.pt"),
    ],
)
def test_a_bundle_that_says_anything_else_is_left_to_monai(tiny_bundle, tmp_path, key, value):
    folder = shutil.copytree(tiny_bundle, tmp_path / "other")
    path = folder / "configs" / "inference.yaml"
    config = yaml.safe_load(path.read_text())
    config.pop(key) if value is None else config.update({key: value})
    path.write_text(yaml.safe_dump(config))
    assert direct.recipe(folder, trust=True) is None


def test_a_bundle_of_others_needs_trust(tiny_bundle):
    assert direct.recipe(tiny_bundle) is None
    assert direct.recipe(tiny_bundle, trust=True) is not None
    with pytest.raises(BundleError, match="No bundle 'nowhere'"):
        direct.recipe("nowhere")


def test_other_weights_another_network_or_damage_are_not_taken_from_the_cache(
    both, tiny_bundle, tmp_path
):
    """Each has a key of its own; what is not whole is made again."""
    cache = tmp_path / "cache"
    assert not is_direct(Segmenter(tiny_bundle, cache=cache, **OPTIONS))
    [model] = cache.rglob("model.pt")
    content = model.read_bytes()
    other = shutil.copytree(tiny_bundle, tmp_path / "other")
    weights = other / "models" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert not is_direct(Segmenter(other, cache=cache, **OPTIONS))
    model.write_bytes(content[:-1])
    assert not is_direct(Segmenter(tiny_bundle, cache=cache, **OPTIONS))
    assert model.read_bytes() != content[:-1]
    assert is_direct(Segmenter(tiny_bundle, cache=cache, **OPTIONS))


@pytest.mark.parametrize("options", [{"tta": True}, {"max_memory": "8GB"}])
def test_what_is_left_to_monai(both, tiny_bundle, options):
    assert not is_direct(Segmenter(tiny_bundle, **OPTIONS, **options))


def test_refusals_are_the_same(both, study, tmp_path):
    item = dict(inference_items(study)[0])
    three = item | {"image": item["image"][:3], "modalities": item["modalities"][:3]}
    unequal = item | {"modalities": item["modalities"][:3]}
    missing = item | {"image": [str(tmp_path / "gone.nii.gz"), *item["image"][1:]]}
    for bad in (three, unequal, missing):
        said = []
        for segmenter in both:
            with pytest.raises(StudyError) as refused:
                segmenter(bad)
            said.append(str(refused.value))
        assert said[0] == said[1]


# A study by the command line, from a cache that is filled.
PROGRAM = """
import sys
from monai_tumor.inference import backends
backends.cache_folder = lambda: __import__("pathlib").Path(sys.argv[1])
from monai_tumor.cli import main
code = main(["segment", sys.argv[2], "-o", sys.argv[3], "--bundle", "brats_segresnet",
             "--device", "cpu", "--backend", "torch"])
print(code, sorted({"monai", "ignite", "pandas", "sklearn", "itk"} & set(sys.modules)))
"""


def test_segment_imports_no_monai(study, tmp_path):
    Segmenter("brats_segresnet", device="cpu", backend="torch", cache=tmp_path / "cache")
    arguments = [str(tmp_path / "cache"), str(study), str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    assert len(list((tmp_path / "out").glob("*_seg.nii.gz"))) == 1
