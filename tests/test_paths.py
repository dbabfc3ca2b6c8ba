import re

import pytest

from monai_tumor import paths
from monai_tumor.errors import BundleError

NAMES = sorted(p.name for p in paths.BUNDLES.iterdir() if (p / "configs").is_dir())


def make_bundle(folder):
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text("{}")
    return folder


def test_a_shipped_bundle_by_name_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = paths.bundle_dir("brats_segresnet")
    assert found.is_absolute()
    assert found == paths.BUNDLES / "brats_segresnet"


def test_a_bundle_by_its_folder(tmp_path, monkeypatch):
    folder = make_bundle(tmp_path / "zoo" / "brats_mri_segmentation")
    assert paths.bundle_dir(str(folder)) == folder
    monkeypatch.chdir(tmp_path)
    assert paths.bundle_dir("zoo/brats_mri_segmentation") == folder


def test_no_such_bundle_lists_those_there_are(tmp_path):
    expected = (
        f"No bundle 'segresnet'; shipped are {', '.join(NAMES)}. "
        "Give one of these, or a bundle's folder."
    )
    assert "brats_unetr" in expected
    with pytest.raises(BundleError, match=f"^{re.escape(expected)}$"):
        paths.bundle_dir("segresnet")
    with pytest.raises(BundleError, match=r"^No bundle ''"):
        paths.bundle_dir("")
    with pytest.raises(BundleError, match=r"^No bundle"):
        paths.bundle_dir(str(tmp_path))


def test_an_overlay_by_name():
    assert paths.config("ema") == paths.CONFIGS / "ema.yaml"


@pytest.mark.parametrize("name", ["emma", "../pyproject", "../bundles/brats_unetr/configs/train"])
def test_no_such_overlay_and_none_outside_the_folder(name):
    with pytest.raises(
        BundleError, match=rf"^No overlay '{re.escape(name)}'; there are .*ema.*\.$"
    ):
        paths.config(name)
