"""Folders of studies: what fails is said, the rest goes on, and a run can be taken up again."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from monai_tumor import cli
from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.errors import BundleError, InputError, StudyError
from monai_tumor.services import segment as module
from monai_tumor.services.segment import segment_all


@pytest.fixture
def studies(tmp_path):
    folder = tmp_path / "in"
    make = lambda seed: make_phantom(seed, size="small")  # noqa: E731
    write_phantoms(folder, count=3, layout="brats2023", make=make)
    return folder


@pytest.fixture
def options(tiny_bundle):
    return {"bundle": tiny_bundle, "trust": True, "device": "cpu"}


def names(folder, ending="_seg.nii.gz"):
    return sorted(path.name.removesuffix(ending) for path in folder.glob(f"*{ending}"))


def test_every_study_of_a_folder(studies, options, tmp_path):
    seen = []
    run = segment_all([studies], tmp_path / "out", on_study=lambda *s: seen.append(s), **options)
    assert run.complete
    assert names(tmp_path / "out") == [f"BraTS-GLI-0000{n}-000" for n in (1, 2, 3)]
    assert [step[1:] for step in seen] == [(1, 3), (2, 3), (3, 3)]
    assert not (tmp_path / "out" / "errors.json").exists()
    assert str(run).endswith(f"3 segmented: {tmp_path / 'out'}")
    assert not list((tmp_path / "out").glob(".tmp*"))


def test_one_bad_study_never_stops_the_rest(studies, options, tmp_path):
    second = studies / "BraTS-GLI-00002-000" / "BraTS-GLI-00002-000-t2w.nii.gz"
    second.write_bytes(second.read_bytes()[:5000])  # cut short
    (studies / "BraTS-GLI-00003-000" / "BraTS-GLI-00003-000-t2f.nii.gz").unlink()
    run = segment_all([studies], tmp_path / "out", **options)
    assert list(run.done) == ["BraTS-GLI-00001-000"]
    assert set(run.errors) == {"BraTS-GLI-00002-000", "BraTS-GLI-00003-000"}
    assert "t2f" in run.errors["BraTS-GLI-00003-000"]
    assert json.loads((tmp_path / "out" / "errors.json").read_text()) == run.errors
    assert names(tmp_path / "out") == ["BraTS-GLI-00001-000"]


def test_resume_redoes_only_what_is_not_whole(studies, options, tmp_path):
    out = tmp_path / "out"
    segment_all([studies], out, **options)
    first, second, third = sorted(out.glob("*_seg.nii.gz"))
    before = first.stat().st_mtime_ns
    (out / "BraTS-GLI-00002-000_seg.json").unlink()  # killed between the two files
    third.unlink()
    run = segment_all([studies], out, resume=True, **options)
    assert run.kept == ("BraTS-GLI-00001-000",)
    assert list(run.done) == ["BraTS-GLI-00002-000", "BraTS-GLI-00003-000"]
    assert first.stat().st_mtime_ns == before
    assert second.is_file()
    assert third.is_file()


def test_other_options_or_inputs_are_not_resumed(studies, options, tmp_path):
    out = tmp_path / "out"
    segment_all([studies], out, **options)
    assert not segment_all([studies], out, resume=True, scheme="msd", **options).kept
    assert len(segment_all([studies], out, resume=True, scheme="msd", **options).kept) == 3
    image = studies / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t1n.nii.gz"
    image.touch()
    again = segment_all([studies], out, resume=True, scheme="msd", **options)
    assert list(again.done) == ["BraTS-GLI-00001-000"]


def test_studies_of_one_name_keep_both_results(studies, options, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(studies / "BraTS-GLI-00001-000", other / "BraTS-GLI-00001-000")
    run = segment_all([studies / "BraTS-GLI-00001-000", other], tmp_path / "out", **options)
    assert sorted(run.done) == ["BraTS-GLI-00001-000", "BraTS-GLI-00001-000_2"]


def test_the_output_is_never_among_the_inputs(studies, options):
    folder = studies / "BraTS-GLI-00001-000"
    with pytest.raises(InputError, match=r"^Results would go to .*, beside the input"):
        segment_all([folder], folder, **options)


def test_nothing_to_segment(options, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        segment_all([tmp_path / "empty"], tmp_path / "out", **options)
    with pytest.raises(InputError, match="Give either folders"):
        segment_all([], tmp_path / "out", **options)


def test_four_files_and_the_missing_one(studies, options, tmp_path):
    folder = studies / "BraTS-GLI-00001-000"
    roles = {r: folder / f"{folder.name}-{r}.nii.gz" for r in ("t1n", "t1c", "t2w", "t2f")}
    run = segment_all([], tmp_path / "out", roles=roles, **options)
    assert len(run.done) == 1
    roles.pop("t2f")
    with pytest.raises(StudyError, match=r"No t2f \(FLAIR\) image is given"):
        segment_all([], tmp_path / "out", roles=roles, **options)


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


def test_a_defect_is_not_taken_for_a_bad_study(studies, options, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(module.Segmenter, "finish", broken)
    with pytest.raises(ZeroDivisionError):
        segment_all([studies], tmp_path / "out", **options)


def test_odd_names_and_places(studies, options, tmp_path):
    odd = tmp_path / "Fälle mit Leerzeichen" / "BraTS-GLI-00001-000"
    shutil.copytree(studies / "BraTS-GLI-00001-000", odd)
    run = segment_all([odd.parent], tmp_path / "aus gabe", **options)
    label_map = run.done["BraTS-GLI-00001-000"]
    assert set(np.unique(np.asarray(nib.load(label_map).dataobj))) <= {0, 1, 2, 3}


def test_command_line(studies, tmp_path, capsys, tiny_bundle, monkeypatch):
    real = module.Segmenter
    monkeypatch.setattr(
        module, "Segmenter", lambda bundle, **more: real(tiny_bundle, trust=True, **more)
    )
    (studies / "BraTS-GLI-00003-000" / "BraTS-GLI-00003-000-t2f.nii.gz").unlink()
    code = cli.main(["segment", str(studies), "-o", str(tmp_path / "out"), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert code == 3
    assert sorted(shown["done"]) == ["BraTS-GLI-00001-000", "BraTS-GLI-00002-000"]
    assert list(shown["errors"]) == ["BraTS-GLI-00003-000"]


def test_command_line_without_weights(studies, tmp_path, capsys):
    arguments = ["segment", str(studies), "-o", str(tmp_path / "out"), "--bundle"]
    assert cli.main([*arguments, "brats_swin_unetr"]) == BundleError.exit_code
    assert capsys.readouterr().err.startswith("error: Bundle 'brats_swin_unetr' has no weights")
