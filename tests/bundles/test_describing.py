"""What bundles there are, and what each says of itself."""

import json
from pathlib import Path

import pytest
from bundle_runs import NAMES
from zoo import zoo_bundle

from monai_tumor import bundles
from monai_tumor.errors import BundleError


def test_shipped_bundles_are_found_by_name() -> None:
    assert set(NAMES) <= set(bundles.bundle_names())
    assert bundles.bundle_names() == sorted(bundles.bundle_names())


def test_describe_states_what_the_metadata_states() -> None:
    info = bundles.describe("brats_segresnet")
    assert info.modalities == ("t1n", "t1c", "t2w", "t2f")
    assert info.regions == ("TC", "WT", "ET")
    assert info.window == (80, 96, 80)
    assert info.shipped
    assert json.loads(json.dumps(info.as_dict()))["name"] == "brats_segresnet"
    assert "input    t1n, t1c, t2w, t2f; window 80 x 96 x 80 voxels" in str(info)


def test_describe_hashes_the_weights(tmp_path: Path) -> None:
    folder = zoo_bundle(tmp_path)
    info = bundles.describe(folder)
    assert info.weights == folder / "models" / "model.pt"
    # coreutils' sha256sum is the reference; hashlib reads the same bytes.
    import hashlib

    assert info.weights_sha256 == hashlib.sha256(info.weights.read_bytes()).hexdigest()
    assert info.modalities == ("t1c", "t1n", "t2w", "t2f")
    assert info.window == ()
    assert not info.shipped


def test_describe_refuses_what_is_no_metadata(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text('{"version": "1.0"}')
    with pytest.raises(BundleError, match=r"metadata.json is not the metadata of a bundle \(KeyE"):
        bundles.describe(tmp_path)


def test_unknown_bundle_names_those_there_are() -> None:
    with pytest.raises(BundleError, match=r"No bundle 'brats'; shipped are .*brats_segresnet"):
        bundles.describe("brats")
