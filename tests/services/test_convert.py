"""The command line over the DICOM converter; the converter itself is tested in tests/dicom."""

import json
from pathlib import Path

import nibabel as nib
import pydicom
from pydicom.data import get_testdata_file

from monai_tumor.cli import main
from monai_tumor.services.convert import convert_all


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


def test_counts_up_while_it_converts(tmp_path):
    sources = [Path(get_testdata_file(name)) for name in ("MR_small.dcm", "CT_small.dcm")]
    seen = []
    convert_all(sources, tmp_path, on_series=lambda *step: seen.append(step))
    uids = {str(pydicom.dcmread(source).SeriesInstanceUID) for source in sources}
    assert [step[1:] for step in seen] == [(1, 2), (2, 2)]
    assert {step[0] for step in seen} == uids
