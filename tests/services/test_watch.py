"""What the watcher does with a study: the files to send, or an error that names the reason."""

import pytest

from monai_tumor.errors import DependencyError, StudyError
from monai_tumor.services import watch as module


@pytest.fixture
def process(segmenter, monkeypatch):
    monkeypatch.setattr(module, "Segmenter", lambda bundle, **options: segmenter)
    return module.segmenting()


def test_results_of_a_study(process, dicom_study, tmp_path):
    pytest.importorskip("highdicom")
    (tmp_path / "results").mkdir()
    files = process(dicom_study, tmp_path / "results")
    assert {path.suffix for path in files} == {".dcm"}
    assert all(path.is_file() and path.is_relative_to(tmp_path / "results") for path in files)


def test_a_study_that_cannot_be_segmented(process, dicom_study, tmp_path, monkeypatch):
    def refuse(*args, **more):
        raise DependencyError("Writing DICOM needs highdicom.")

    monkeypatch.setattr("monai_tumor.services.pipeline.export_mask", refuse)
    with pytest.raises(
        StudyError, match=r"^No DICOM was written: Writing DICOM needs highdicom\.$"
    ):
        process(dicom_study, tmp_path / "results")
    for file in (dicom_study / "t2f").iterdir():
        file.unlink()
    with pytest.raises(StudyError, match=r"has no t2f \(FLAIR\) series"):
        process(dicom_study, tmp_path / "results")
