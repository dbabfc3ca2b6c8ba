"""Three studies at once: what fails in one concerns no other, and leaves nothing half done."""

import json

import pytest

from monai_tumor.data.phantom import make_phantom, write_dicom_phantom
from monai_tumor.errors import DependencyError
from monai_tumor.inference import Segmenter
from monai_tumor.services.segment import Outputs, segment_all


def test_a_defect_stops_neither_the_others_nor_hides(
    studies, options, tmp_path, monkeypatch, caplog
):
    finish = Segmenter.finish

    def broken(self, predicted, **more):
        if "00002" in str(predicted["study"]):
            raise ZeroDivisionError("division by zero")
        return finish(self, predicted, **more)

    monkeypatch.setattr(Segmenter, "finish", broken)
    run = segment_all([studies], tmp_path / "out", **options)
    assert sorted(run.done) == ["BraTS-GLI-00001-000", "BraTS-GLI-00003-000"]
    assert run.defects == ("BraTS-GLI-00002-000",)
    (message,) = json.loads((tmp_path / "out" / "errors.json").read_text()).values()
    assert message.startswith("ZeroDivisionError: division by zero (a defect")
    assert "in broken" in caplog.text  # the traceback


def test_an_interrupt_ends_all(studies, options, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Segmenter, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment_all([studies], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_dicom_that_cannot_be_written_is_no_complete_result(
    dicom_study, options, tmp_path, monkeypatch, capsys
):
    def refuse(*args, **more):
        raise DependencyError("Writing DICOM SEG and SR needs highdicom.")

    options["outputs"] = Outputs(report=False)
    before = segment_all([dicom_study], tmp_path / "out", **options)
    assert list((tmp_path / "out" / "from_the_scanner" / "dicom").iterdir())
    monkeypatch.setattr("monai_tumor.services.pipeline.export_mask", refuse)
    run = segment_all([dicom_study], tmp_path / "out", **options)
    assert before.complete
    assert not run.complete
    assert "no dicom was written: Writing DICOM SEG and SR needs highdicom." in str(run)
    record = json.loads((tmp_path / "out" / "from_the_scanner_seg.json").read_text())
    assert record["not_written"] == {"dicom": "Writing DICOM SEG and SR needs highdicom."}
    assert not (tmp_path / "out" / "from_the_scanner" / "dicom").exists()
    monkeypatch.undo()
    again = segment_all([dicom_study], tmp_path / "out", resume=True, **options)
    assert list(again.done) == ["from_the_scanner"]


def test_dicom_is_converted_when_its_turn_comes(dicom_study, options, tmp_path, monkeypatch):
    """And no study's working files outlast it."""
    write_dicom_phantom(tmp_path / "second", make_phantom(5, size="small"))
    seen = []
    scratch = tmp_path / "out" / ".tmp-segment"

    def predict(self, prepared):
        seen.append(sorted(path.name for path in scratch.iterdir()))
        return wrapped(self, prepared)

    wrapped = Segmenter.predict
    monkeypatch.setattr(Segmenter, "predict", predict)
    ended = []
    segment_all(
        [dicom_study, tmp_path / "second"],
        tmp_path / "out",
        on_study=lambda name, *_: ended.append(sorted(path.name for path in scratch.iterdir())),
        **options,
    )
    assert "from_the_scanner" in seen[0]
    assert "from_the_scanner" not in ended[0]
    assert ended[-1] == []


def test_a_full_disk_leaves_whole_files_and_no_stray_ones(studies, options, tmp_path, monkeypatch):
    def full(image, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    segment_all([studies], out, **options)
    whole = {path: path.read_bytes() for path in out.glob("*_seg.nii.gz")}
    monkeypatch.setattr("monai_tumor.inference.result.nifti.save", full)
    run = segment_all([studies], out, **options)
    assert len(run.errors) == 3
    assert all("No space left" in reason for reason in run.errors.values())
    assert {path: path.read_bytes() for path in out.glob("*_seg.nii.gz")} == whole
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
