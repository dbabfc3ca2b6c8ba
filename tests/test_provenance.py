import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version

import pytest

from monai_tumor import __version__, provenance


def test_versions_of_what_computed():
    found = provenance.versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == version("torch")
    assert found["monai"] == version("monai")
    assert found["monai-tumor"] == __version__


def test_a_package_that_is_not_installed_is_left_out(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(provenance, "version", missing)
    assert provenance.versions() == {
        "python": platform.python_version(),
        "monai-tumor": __version__,
    }


@pytest.mark.parametrize("many", [False, True])
def test_a_record_names_bundle_weights_hash_and_options(tmp_path, many):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    given = [file, str(file)] if many else str(file)
    record = provenance.record("brats_unetr", "0.1.0", given, tta=True, window=[96, 96, 96])
    entry = {"file": "model.safetensors", "sha256": hashlib.sha256(b"weights").hexdigest()}
    assert record["weights"] == ([entry, entry] if many else [entry])
    assert record["options"] == {"tta": True, "window": [96, 96, 96]}
    assert (record["bundle"], record["bundle_version"]) == ("brats_unetr", "0.1.0")
    assert "Not a medical device" in record["intended_use"]
    assert str(tmp_path) not in json.dumps(record)


def test_a_record_without_weights():
    assert provenance.record("b", "1")["weights"] == []
