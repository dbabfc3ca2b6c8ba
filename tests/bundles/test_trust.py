"""What is not shipped, and what is code, needs trust."""

import re
from pathlib import Path

import pytest
from bundle_runs import phantoms
from zoo import zoo_bundle

from monai_tumor import bundles
from monai_tumor.errors import BundleError, StudyError

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantoms(tmp_path_factory.mktemp("data"), "brats2021", count=2)


def test_overlay_of_someone_else_needs_trust(tmp_path: Path, data: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("max_epochs: 1\n")
    with pytest.raises(BundleError, match=r"mine.yaml is not shipped.*a bundle is code.*--trust"):
        bundles.run("brats_segresnet", "training", overlays=[overlay], dataset_dir=data)
    assert bundles.config_files("brats_segresnet", "training", [overlay], trust=True)[1] == overlay


_MARK = "$open('ran', 'w').close()"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"seed": _MARK}, ("seed", _MARK)),
        ({"device": _MARK}, ("device", _MARK)),
        ({"window": [32, 32, _MARK]}, ("window::2", _MARK)),
        ({"loss": {"a": (_MARK,)}}, ("loss::a::0", _MARK)),
        ({"output_dir": "@imports"}, ("output_dir", "@imports")),
        ({"loss": "%/tmp/x.yaml::loss"}, ("loss", "%/tmp/x.yaml::loss")),
        ({"loss": {"_target_": "os.abort"}}, ("loss::_target_", "os.abort")),
        ({"loss#_target_": "os.abort"}, ("loss#_target_", "os.abort")),
    ],
)
def test_option_that_is_code_needs_trust(
    options: dict, found: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = (
        f"Option {found[0]!r} is {found[1]!r}, which a config runs as code or looks up; "
        "if that is meant, say so (trust=True, --trust)."
    )
    with pytest.raises(BundleError, match=f"^{re.escape(expected)}$"):
        bundles.run("brats_segresnet", "training", **options)
    assert not (tmp_path / "ran").exists()


def test_path_is_taken_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may be called like an expression; as an absolute path it is none."""
    monkeypatch.chdir(tmp_path)
    Path("$1 + 1").mkdir()
    with pytest.raises(StudyError, match=re.escape(f"No study found in {tmp_path}/$1 + 1: ")):
        bundles.run("brats_segresnet", "training", dataset_dir=Path("$1 + 1"))


@pytest.mark.parametrize("key", ["members", "_meta_::members", "_meta_::network_def::bundles"])
def test_member_of_someone_else_needs_trust_wherever_it_is_named(key: str, tmp_path: Path) -> None:
    root = zoo_bundle(tmp_path)
    with pytest.raises(BundleError, match="zoo is not shipped with monai_tumor"):
        bundles.run("brats_ensemble", "inference", input=tmp_path, **{key: [str(root)]})


def test_zoo_bundle_needs_trust(tmp_path: Path) -> None:
    root = zoo_bundle(tmp_path)
    with pytest.raises(BundleError, match="zoo is not shipped with monai_tumor, and a bundle is"):
        bundles.run(root, "inference", input=tmp_path)
    with pytest.raises(BundleError, match="zoo is not shipped"):
        bundles.run("brats_ensemble", "inference", input=tmp_path, members=[str(root)])
