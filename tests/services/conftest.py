"""Small studies, a small network, and what `segment_all` is given in most tests."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from monai_tumor.data.phantom import make_phantom, write_dicom_phantom, write_phantoms
from monai_tumor.inference import Segmenter
from monai_tumor.services.segment import Outputs


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "in"
    make = partial(make_phantom, size="small")
    write_phantoms(folder, count=3, layout="brats2023", make=make)
    write_dicom_phantom(folder.parent / "dicom", make(4))
    return folder.parent


@pytest.fixture
def studies(phantoms, tmp_path):
    return Path(shutil.copytree(phantoms / "in", tmp_path / "in"))


@pytest.fixture
def study(studies):
    """One of them, alone."""
    return studies / "BraTS-GLI-00001-000"


@pytest.fixture
def dicom_study(phantoms, tmp_path):
    return Path(shutil.copytree(phantoms / "dicom", tmp_path / "from the scanner"))


@pytest.fixture(scope="session")
def segmenter(tiny_bundle):
    return Segmenter(tiny_bundle, trust=True, device="cpu", backend="torch")


@pytest.fixture
def options(segmenter):
    return {"bundle": segmenter, "outputs": Outputs(report=False, dicom=False)}
