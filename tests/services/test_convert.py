"""The command line over the DICOM converter; the converter itself is tested in tests/dicom."""

import json
from pathlib import Path

import nibabel as nib
import pydicom
from pydicom.data import get_testdata_file

from monai_tumor.cli import main


def test_convert_writes_a_volume_and_says_what_it_did(tmp_path, capsys):
    source = Path(get_testdata_file("MR_small.dcm"))
    assert main(["convert", str(source), "-o", str(tmp_path / "out")]) == 0
    assert "1 series converted and audited, 0 refused" in capsys.readouterr().out
    (volume,) = (tmp_path / "out").rglob("*.nii.gz")
    assert nib.load(volume).shape[:2] == (64, 64)
    sidecar = json.loads(Path(str(volume).replace(".nii.gz", ".json")).read_text())
    assert str(pydicom.dcmread(source).PatientName) not in json.dumps(sidecar)


def test_nothing_to_convert_is_one_line(tmp_path, capsys):
    (tmp_path / "note.txt").write_text("no DICOM")
    assert main(["convert", str(tmp_path / "note.txt"), "-o", str(tmp_path / "out")]) == 4
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
