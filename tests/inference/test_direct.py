"""Inference without MONAI: the same answer, and MONAI wherever a bundle says anything else."""

import hashlib
import json
import os
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
from monai_tumor.inference import Segmenter, backends, direct
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
        ("modalities", ["t1c", "t1n", "t2w", "t2f"]),
        ("device", "$torch.device('mps')"),
        ("provenance", {"_target_": "builtins.dict"}),
    ],
)
def test_a_bundle_that_says_anything_else_is_left_to_monai(tiny_bundle, tmp_path, key, value):
    folder = shutil.copytree(tiny_bundle, tmp_path / "other")
    path = folder / "configs" / "inference.yaml"
    config = yaml.safe_load(path.read_text())
    config.pop(key) if value is None else config.update({key: value})
    path.write_text(yaml.safe_dump(config))
    assert direct.recipe(folder, trust=True) is None


def changed(bundle, folder, **changes):
    """A bundle with other metadata."""
    folder = shutil.copytree(bundle, folder)
    path = folder / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_channels_in_another_spelling_are_the_same(tiny_bundle, tmp_path):
    """`SelectModalitiesd` knows them too."""
    made = direct.recipe(tiny_bundle, trust=True)
    meta = json.loads((tiny_bundle / "configs" / "metadata.json").read_text())
    channels = meta["network_data_format"]["inputs"]["image"]["channel_def"]
    spelt = {"t1n": "T1w", "t1c": "T1gd", "t2w": "T2w", "t2f": "FLAIR"}
    for number, name in channels.items():
        channels[number] = spelt[name]
    told = meta["network_data_format"]
    folder = changed(tiny_bundle, tmp_path / "spelt", network_data_format=told)
    assert direct.recipe(folder, trust=True).modalities == made.modalities
    channels["0"] = "CT"
    folder = changed(tiny_bundle, tmp_path / "ct", network_data_format=told)
    assert direct.recipe(folder, trust=True) is None


@pytest.mark.parametrize("option", ["@act", "$torch.nn.ReLU", "%_meta_::act", {"_target_": "x"}])
def test_a_network_that_its_definition_does_not_tell_whole_is_left_to_monai(
    tiny_bundle, tmp_path, option
):
    """What it refers to would not be in the key of the cache."""
    network = {"_target_": "monai.networks.nets.SegResNet", "in_channels": 4}
    same = changed(tiny_bundle, tmp_path / "same", network_def=network | {"img_size": "@window"})
    assert direct.recipe(same, trust=True) is not None
    other = changed(tiny_bundle, tmp_path / "other", network_def=network | {"act": option})
    assert direct.recipe(other, trust=True) is None


def test_an_ensemble_of_another_kind_is_left_to_monai(tiny_bundle, tmp_path):
    ours = BUNDLES / "brats_ensemble"
    assert direct.recipe(changed(ours, tmp_path / "same"), trust=True) is not None
    vote = {"_target_": "elsewhere.MajorityVote", "bundles": "@members", "window": "@window"}
    one = ["brats_segresnet"]
    for number, other in enumerate(({"network_def": vote}, {"members": one}, {"spacing": [1] * 3})):
        folder = changed(ours, tmp_path / str(number), **other)
        assert direct.recipe(folder, trust=True) is None


def test_a_bundle_of_others_needs_trust(tiny_bundle):
    assert direct.recipe(tiny_bundle) is None
    assert direct.recipe(tiny_bundle, trust=True) is not None
    with pytest.raises(BundleError, match="No bundle 'nowhere'"):
        direct.recipe("nowhere")


@pytest.fixture(scope="module")
def filled(tiny_bundle, tmp_path_factory):
    """A cache with what one run keeps."""
    cache = tmp_path_factory.mktemp("filled")
    Segmenter(tiny_bundle, cache=cache, **OPTIONS)
    return cache


def test_other_weights_and_weights_of_ones_own_have_keys_of_their_own(
    filled, tiny_bundle, tmp_path
):
    cache = shutil.copytree(filled, tmp_path / "cache")
    own = tmp_path / "own.safetensors"
    content = bytearray((tiny_bundle / "models" / "model.safetensors").read_bytes())
    own.write_bytes(content)
    assert is_direct(Segmenter(tiny_bundle, weights=own, cache=cache, **OPTIONS))
    content[-1] ^= 1
    own.write_bytes(content)
    assert not is_direct(Segmenter(tiny_bundle, weights=own, cache=cache, **OPTIONS))
    assert is_direct(Segmenter(tiny_bundle, weights=own, cache=cache, **OPTIONS))


def test_weights_that_are_not_those_recorded_are_refused_by_both(filled, tiny_bundle, tmp_path):
    own = tmp_path / "own.safetensors"
    shutil.copy(tiny_bundle / "models" / "model.safetensors", own)
    own.with_suffix(".json").write_text(json.dumps({"sha256": "0" * 64}))
    for cache in (filled, tmp_path / "empty"):
        with pytest.raises(BundleError, match=r"not the file that own\.json records"):
            Segmenter(tiny_bundle, weights=own, cache=cache, **OPTIONS)


def an_entry(change):
    """A change of the JSON that names the networks kept."""

    def damage(cache):
        [entry] = cache.glob("kept/*.json")
        entry.write_text(change(entry.read_text()))

    return damage


def a_file(name, change):
    def damage(cache):
        [path] = cache.rglob(name)
        path.write_bytes(change(path.read_bytes()))

    return damage


def of_another_version(cache):
    """Whole by its hash, and nothing that PyTorch reads."""
    [model] = cache.rglob("model.pt")
    model.write_bytes(b"another format")
    record = {"model.pt": hashlib.sha256(b"another format").hexdigest()}
    (model.parent / "model.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    "damage",
    [
        a_file("model.pt", lambda content: content[:-1]),
        a_file("model.pt", lambda content: b""),
        a_file("model.json", lambda content: b"{}"),
        an_entry(lambda text: text[:20]),
        an_entry(lambda text: ""),
        an_entry(lambda text: json.dumps({"members": ["../../elsewhere"]})),
        an_entry(lambda text: json.dumps({"members": []})),
        an_entry(lambda text: json.dumps({"members": 2 * json.loads(text)["members"]})),
    ],
)
def test_what_is_damaged_is_made_anew_and_said(filled, tiny_bundle, tmp_path, damage, caplog):
    cache = shutil.copytree(filled, tmp_path / "cache")
    damage(cache)
    assert not is_direct(Segmenter(tiny_bundle, cache=cache, **OPTIONS))
    [line] = [r.getMessage() for r in caplog.records if r.name.endswith("backends")]
    assert "is made anew" in line
    assert is_direct(Segmenter(tiny_bundle, cache=cache, **OPTIONS))


def test_what_cannot_be_read_though_it_is_whole_is_left_to_monai(
    filled, tiny_bundle, tmp_path, caplog
):
    cache = shutil.copytree(filled, tmp_path / "cache")
    of_another_version(cache)
    assert not is_direct(Segmenter(tiny_bundle, cache=cache, **OPTIONS))
    assert "cannot be used and is made anew" in caplog.text


def test_a_trace_that_answers_otherwise_is_not_kept(tmp_path, caplog):
    class Twofold(torch.nn.Module):
        def forward(self, x):
            return 2 * x if x.any() else x  # a trace holds one of the two

    backends.keep_network(Twofold(), (1, 4, 4, 4), "torch", "0" * 64, cache=tmp_path)
    assert "its trace gives another answer" in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# A first run whose files may have no more than so many bytes, as on a full disk.
ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from monai_tumor.inference import Segmenter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
Segmenter(sys.argv[1], cache=Path(sys.argv[2]), trust=True, device="cpu", backend=sys.argv[3])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits")
@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_a_full_disk_costs_time_alone(tiny_bundle, tmp_path, backend):
    """PyTorch ends the process where it cannot write a file to its end."""
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the extra openvino is not installed")
    arguments = [sys.executable, "-W", "ignore", "-c", ON_A_FULL_DISK, tiny_bundle, tmp_path]
    done = subprocess.run([*arguments, backend], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "is not cached" in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_of_two_that_keep_the_same_at_once_the_first_stays(filled, tmp_path):
    cache = shutil.copytree(filled, tmp_path / "cache")
    [folder] = (cache / "torch").iterdir()

    def save(temporary):
        (temporary / "model.pt").write_bytes(b"the second's")

    backends._keep(torch.nn.Identity(), save, folder, ("model.pt",))
    assert list((cache / "torch").iterdir()) == [folder]
    assert (folder / "model.pt").read_bytes() != b"the second's"


def test_the_cache_has_an_end(tmp_path):
    """The latest used stay; what a killed run left goes with the others."""

    def save(temporary):
        (temporary / "model.pt").write_bytes(b"a network")

    (tmp_path / ".tmp-killed").mkdir()
    os.utime(tmp_path / ".tmp-killed", (1, 1))
    for number in range(20):
        backends._keep(torch.nn.Identity(), save, tmp_path / f"{number:02}", ("model.pt",))
        os.utime(tmp_path / f"{number:02}", (number + 2, number + 2))
        if number == 10:
            assert backends._is_whole(tmp_path / "00", ("model.pt",))  # used
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["00", *(f"{n:02}" for n in range(5, 20))]


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
