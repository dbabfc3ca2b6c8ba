"""Folders of studies: what fails is said, the rest goes on, and a run can be taken up again."""

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

import monai_tumor
from monai_tumor import cli
from monai_tumor.data.phantom import make_phantom, write_dicom_phantom
from monai_tumor.errors import BundleError, InputError, StudyError
from monai_tumor.inference import segmenter as module
from monai_tumor.locks import LOCK
from monai_tumor.services.opening import Preparation
from monai_tumor.services.segment import Outputs, plan, segment, segment_all

LOAD = {"trust": True, "device": "cpu", "backend": "torch"}


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
    record = out / "BraTS-GLI-00002-000_seg.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"unfinished": True}))  # killed between two files
    third.unlink()
    run = segment_all([studies], out, resume=True, **options)
    assert run.kept == ("BraTS-GLI-00001-000",)
    assert list(run.done) == ["BraTS-GLI-00002-000", "BraTS-GLI-00003-000"]
    assert first.stat().st_mtime_ns == before
    assert second.is_file()
    assert third.is_file()


def test_other_options_or_inputs_are_not_resumed(studies, options, tiny_bundle, tmp_path):
    out = tmp_path / "out"
    segment_all([studies], out, **options)
    other = options | {"bundle": module.Segmenter(tiny_bundle, scheme="msd", **LOAD)}
    assert not segment_all([studies], out, resume=True, **other).kept
    assert len(segment_all([studies], out, resume=True, **other).kept) == 3
    image = studies / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t1n.nii.gz"
    image.touch()
    again = segment_all([studies], out, resume=True, **other)
    assert list(again.done) == ["BraTS-GLI-00001-000"]


def test_resume_looks_at_all_that_was_asked_for(study, options, tmp_path):
    out = tmp_path / "out"
    asked = options | {"outputs": Outputs(dicom=False, probabilities=True), "resume": True}
    segment_all([study], out, **asked)
    assert segment_all([study], out, **asked).kept == (study.name,)
    for file in (f"{study.name}/report.html", f"{study.name}_prob.nii.gz"):
        (out / file).unlink()
        assert list(segment_all([study], out, **asked).done) == [study.name], file
        assert (out / file).is_file()


def test_resume_knows_a_brain_mask_by_its_content(study, options, tmp_path):
    image = nib.load(study / f"{study.name}-t1c.nii.gz")
    mask = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.ones(image.shape, np.uint8), image.affine), mask)
    asked = options | {"preparation": Preparation(brain_mask=mask), "resume": True}
    segment_all([study], tmp_path / "out", **asked)
    moved = Path(shutil.copy(mask, tmp_path / "moved.nii.gz"))
    elsewhere = asked | {"preparation": Preparation(brain_mask=moved)}
    assert segment_all([study], tmp_path / "out", **elsewhere).kept
    half = np.ones(image.shape, np.uint8)
    half[: image.shape[0] // 2] = 0
    nib.save(nib.Nifti1Image(half, image.affine), mask)
    assert segment_all([study], tmp_path / "out", **asked).done
    gone = options | {"preparation": Preparation(brain_mask=Path("nowhere.nii"))}
    with pytest.raises(InputError, match=r"Cannot read the brain mask nowhere\.nii: No such file"):
        segment_all([study], tmp_path / "out", **gone)


def test_what_is_not_asked_for_any_more_goes(study, options, tmp_path):
    out = tmp_path / "out"
    more = options | {"outputs": Outputs(dicom=False, probabilities=True)}
    segment_all([study], out, **more)
    (out / study.name / "notes.txt").write_text("my own")
    segment_all([study], out, **options)
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert files == [
        f"{study.name}/notes.txt",
        f"{study.name}_seg.json",
        f"{study.name}_seg.nii.gz",
    ]


def test_a_study_that_fails_leaves_its_earlier_result_and_says_so(study, options, tmp_path):
    out = tmp_path / "out"
    segment_all([study], out, **options | {"outputs": Outputs()})
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    flair = study / f"{study.name}-t2f.nii.gz"
    flair.write_bytes(flair.read_bytes()[:5000])
    run = segment_all([study], out, **options)
    assert run.errors[study.name].endswith("[its earlier result was left as it is]")
    assert {path: path.read_bytes() for path in before} == before
    flair.unlink()  # found by its name alone
    run = segment_all([study], out, **options)
    assert "no t2f (FLAIR) image" in run.errors[study.name]
    assert run.errors[study.name].endswith("[its earlier result was left as it is]")
    (out / f"{study.name}_seg.nii.gz").unlink()
    assert not segment_all([study], out, **options).errors[study.name].endswith("as it is]")


def test_what_is_not_ours_is_never_replaced(study, options, tmp_path):
    out = tmp_path / "out"
    (out / study.name).mkdir(parents=True)
    for file in (out / f"{study.name}_seg.nii.gz", out / study.name / "report.html"):
        file.write_bytes(b"drawn by hand")
        run = segment_all([study], out, **options | {"outputs": Outputs()})
        assert f"{file} is there and is not of an earlier result" in run.errors[study.name]
        assert file.read_bytes() == b"drawn by hand"
        file.unlink()


def test_a_folder_that_leads_elsewhere_is_not_followed(study, options, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / study.name).symlink_to(tmp_path / "elsewhere")
    run = segment_all([study], tmp_path / "out", **options | {"outputs": Outputs()})
    assert "out of" in run.errors[study.name]
    assert not list((tmp_path / "elsewhere").iterdir())


def test_one_run_at_a_time(studies, options, tmp_path):
    messages = []

    def another(*step):
        with pytest.raises(InputError, match=r"Another process \(\d+\) segments into") as refused:
            segment_all([studies], tmp_path / "out", **options)
        messages.append(str(refused.value))

    run = segment_all([studies], tmp_path / "out", on_study=another, **options)
    assert len(run.done) == len(messages) == 3


def test_what_a_killed_run_left_goes(study, options, tmp_path):
    out = tmp_path / "out"
    left = out / ".tmp-segment" / "another" / "made"
    left.mkdir(parents=True)
    (left / "half.nii.gz").write_bytes(b"half")
    (out / LOCK).write_text("1\n")
    assert segment_all([study], out, **options).complete
    assert sorted(path.name for path in out.iterdir()) == [
        f"{study.name}_seg.json",
        f"{study.name}_seg.nii.gz",
    ]


def test_errors_json_of_somebody_else_stays(study, options, tmp_path):
    mine = tmp_path / "out" / "errors.json"
    mine.parent.mkdir()
    mine.write_text('{"count": 3}')
    with pytest.raises(InputError, match=r"errors.json is there and is not of an earlier run"):
        segment_all([study], tmp_path / "out", **options)
    assert mine.read_text() == '{"count": 3}'


def test_results_are_no_inputs(study, dicom_study, options, tmp_path):
    pytest.importorskip("highdicom")
    home = tmp_path / "home"
    home.mkdir()
    for one in (study, dicom_study):
        one.rename(home / one.name)
    mask = home / "brain.nii.gz"
    image = nib.load(home / study.name / f"{study.name}-t1c.nii.gz")
    nib.save(nib.Nifti1Image(np.ones(image.shape, np.uint8), image.affine), mask)
    keep = Preparation(brain_mask=mask, keep_images=True)
    all_ = options | {"outputs": Outputs(probabilities=True), "preparation": keep}
    for _ in range(2):
        run = segment_all([home / study.name], home / "out", **all_)
        assert (list(run.done), run.errors) == ([study.name], {})
    segment_all([home / dicom_study.name], home / "out", **options | {"outputs": Outputs()})
    found = plan([home])
    assert (found.errors, len(found.sources)) == ({}, 2)
    with pytest.raises(StudyError, match=r"No study in .* but results of earlier runs"):
        plan([home / "out"])


def test_studies_of_one_name_keep_both_results(studies, options, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(studies / "BraTS-GLI-00001-000", other / "BraTS-GLI-00001-000")
    for given in ([studies / "BraTS-GLI-00001-000", other], [other, studies]):
        run = segment_all(given, tmp_path / "out", **options)
        same = [name for name in run.done if "00001" in name]
        assert sorted(same) == ["in_BraTS-GLI-00001-000", "other_BraTS-GLI-00001-000"]


def test_another_study_of_a_name_replaces_no_result_of_an_earlier_run(study, options, tmp_path):
    other = Path(shutil.copytree(study, tmp_path / "other" / study.name))
    segment_all([study], tmp_path / "out", **options)
    (record,) = (tmp_path / "out").glob("*_seg.json")
    before = record.read_bytes()
    assert json.loads(before)["study_key"].startswith(str(study.resolve()))
    run = segment_all([other], tmp_path / "out", **options)
    assert "is the result of another study named" in run.errors[study.name]
    assert record.read_bytes() == before


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


def replaced(studies, role, change):
    """The first study, with one image replaced by `change(voxels)`."""
    study = studies / "BraTS-GLI-00001-000"
    path = study / f"{study.name}-{role}.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(change(image.get_fdata(dtype=np.float32)), image.affine), path)
    return study


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (np.zeros_like, "t2w has the same value in the whole brain"),
        (lambda voxels: voxels * np.nan, r"\d+ voxels of t2w are not finite"),
        (lambda voxels: voxels[:1, :1, :1], r"shape \(1, 1, 1\); a volume is needed"),
        (lambda voxels: np.stack([voxels] * 3, -1), r"a 3D image is needed here"),
    ],
    ids=["empty", "not finite", "one voxel", "channels"],
)
def test_an_image_that_cannot_be_used(studies, options, tmp_path, change, message):
    study = replaced(studies, "t2w", change)
    run = segment_all([study], tmp_path / "out", **options)
    assert re.search(message, run.errors[study.name]), run.errors
    assert [path.name for path in (tmp_path / "out").glob("*seg*")] == []


def test_a_4d_file_of_three_channels(options, tmp_path):
    image = nib.Nifti1Image(np.ones((8, 8, 8, 3), np.float32), np.eye(4))
    nib.save(image, tmp_path / "three.nii.gz")
    asked = {"modalities": "t2f,t1n,t1c,t2w", **options}
    run = segment_all([tmp_path / "three.nii.gz"], tmp_path / "out", **asked)
    assert "has 3 channels, but 4 modalities are named" in run.errors["three"]


def test_a_file_of_no_known_kind(options, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match=r"notes\.txt is neither a folder, a NIfTI file nor"):
        segment_all([tmp_path / "notes.txt"], tmp_path / "out", **options)


def test_an_input_that_cannot_be_read_is_one_error_of_many(study, options, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    given = [tmp_path / "nowhere", study, tmp_path / "notes.txt"]
    run = segment_all(given, tmp_path / "out", **options)
    assert list(run.done) == [study.name]
    assert run.errors["nowhere"].startswith("There is nothing at ")
    assert "is neither a folder, a NIfTI file nor" in run.errors["notes.txt"]
    assert json.loads((tmp_path / "out" / "errors.json").read_text()) == run.errors
    with pytest.raises(InputError, match=r"There is nothing at .*nowhere"):
        segment_all([tmp_path / "nowhere", tmp_path / "notes.txt"], tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()


def test_odd_names_and_places(studies, options, tmp_path):
    odd = tmp_path / "Fälle mit Leerzeichen" / "BraTS-GLI-00001-000"
    shutil.copytree(studies / "BraTS-GLI-00001-000", odd)
    run = segment_all([odd.parent], tmp_path / "aus gabe", **options)
    label_map = run.done["BraTS-GLI-00001-000"].label_map
    assert set(np.unique(np.asarray(nib.load(label_map).dataobj))) <= {0, 1, 2, 3}


def test_the_report_lies_in_a_folder_of_the_study(studies, options, tmp_path):
    study = studies / "BraTS-GLI-00001-000"
    written = segment_all([study], tmp_path, **options | {"outputs": None}).done[study.name]
    assert written.report == tmp_path / study.name
    content = json.loads((written.report / "report.json").read_text())
    voxels = np.asarray(nib.load(written.label_map).dataobj)
    ml = np.count_nonzero(voxels) / 1000  # voxels of 1 mm
    assert content["measures"]["volumes_ml"]["WT"] == pytest.approx(ml, abs=1e-3)
    assert 0 <= content["uncertainty"]["mean_entropy"] <= 1
    assert content["uncertainty"]["ensemble_disagreement"] is None  # one network
    assert content["provenance"]["weights"][0]["sha256"]
    assert content["provenance"]["run_time_s"] > 0
    assert "Research use only" in (written.report / "report.html").read_text()


def test_a_dicom_study_gets_seg_and_sr_on_the_grid_of_t1c(dicom_study, options, tmp_path):
    pytest.importorskip("highdicom")
    options["outputs"] = Outputs(report=False)
    run = segment_all([dicom_study], tmp_path / "out", **options)
    (written,) = run.done.values()
    assert written.label_map == tmp_path / "out" / "from_the_scanner_seg.nii.gz"
    folder = tmp_path / "out" / "from_the_scanner"
    t1c = json.loads((folder / "images" / "t1c.json").read_text())["SeriesInstanceUID"]
    assert written.dicom.series_uid == t1c
    assert written.dicom.exact
    kinds = sorted(dcmread(path).Modality for path in written.dicom_files)
    assert kinds[-2:] == ["SEG", "SR"]
    assert not list((tmp_path / "out").glob(".tmp*"))
    same = make_phantom(4, size="small").label.shape
    assert nib.load(written.label_map).shape == same
    assert all(path.is_file() for path in written.dicom_files)
    again = segment_all([dicom_study], tmp_path / "out", resume=True, **options)
    assert again.kept == ("from_the_scanner",)
    written.dicom_files[0].unlink()
    again = segment_all([dicom_study], tmp_path / "out", resume=True, **options)
    assert list(again.done) == ["from_the_scanner"]


def test_an_archive_of_dicom_is_what_the_folder_is(dicom_study, options, tmp_path):
    whole = segment_all([dicom_study], tmp_path / "a", **options).done["from_the_scanner"]
    shutil.make_archive(str(tmp_path / "sent"), "zip", dicom_study)
    packed = segment_all([tmp_path / "sent.zip"], tmp_path / "b", **options).done["sent"]
    one, other = (nib.load(written.label_map) for written in (whole, packed))
    assert np.array_equal(one.affine, other.affine)
    assert np.array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))


def test_a_result_of_dicom_can_be_saved(dicom_study, tiny_bundle, tmp_path):
    result = segment(dicom_study, bundle=tiny_bundle, trust=True, device="cpu", backend="torch")
    assert nib.load(result.save(tmp_path / "saved")).shape == result.label_map.shape


def test_results_never_lie_among_the_dicom_files(dicom_study, options):
    same = dicom_study.rename(dicom_study.with_name("from_the_scanner"))
    for output in (same / "results", same, same.parent):
        with pytest.raises(InputError, match="among the DICOM files"):
            segment_all([same], output, **options)


def test_two_dicom_studies_in_one_folder_are_kept_apart(dicom_study, tmp_path):
    write_dicom_phantom(dicom_study / "second", make_phantom(5, size="small"))
    found = plan([dicom_study])
    assert [source.name for source in found.sources] == ["from_the_scanner", "second"]
    for source in found.sources:
        assert len({one.study_uid for one in source.origin.series.values()}) == 1


def test_a_dicom_study_without_flair_names_what_there_is(dicom_study, options, tmp_path):
    shutil.rmtree(dicom_study / "t2f")
    run = segment_all([dicom_study], tmp_path / "out", **options)
    (message,) = run.errors.values()
    assert "has no t2f (FLAIR) series. Found: " in message
    assert "'t2' in the description" in message
    assert message.endswith("--series t2f=UID, or leave the study out.")


def test_a_series_can_be_named(dicom_study):
    (source,) = plan([dicom_study]).sources
    other = source.origin.series["t1n"].series_uid
    (chosen,) = plan([dicom_study], series={"t1c": other}).sources
    assert chosen.origin.series["t1c"].series_uid == other
    wrong = plan([dicom_study], series={"t1c": "1.2.3"})
    assert "'1.2.3' names 0 series for t1c" in wrong.errors["from_the_scanner"]


@pytest.mark.parametrize("series", [{"t3": "1.2"}, {"t1c": "1.2", "t1ce": "1.3"}])
def test_a_series_for_no_role_is_refused_before_the_work(dicom_study, options, tmp_path, series):
    with pytest.raises(InputError, match="series w"):
        plan([dicom_study], series=series)
    with pytest.raises(InputError, match="series w"):
        segment_all([dicom_study], tmp_path / "out", series=series, **options)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_is_there(studies):
    (studies / "BraTS-GLI-00003-000" / "BraTS-GLI-00003-000-t2f.nii.gz").unlink()
    found = plan([studies])
    assert [source.name for source in found.sources] == [f"BraTS-GLI-0000{n}-000" for n in (1, 2)]
    assert list(found.errors) == ["BraTS-GLI-00003-000"]
    assert "t2f: BraTS-GLI-00001-000-t2f.nii.gz" in str(found)
    assert str(found).endswith("2 to segment, 1 cannot be")


def test_segment_takes_a_folder_or_four_files(tiny_bundle, studies):
    folder = studies / "BraTS-GLI-00001-000"
    files = {role: folder / f"{folder.name}-{role}.nii.gz" for role in ("t1n", "t1c", "t2w", "t2f")}
    options = {"bundle": tiny_bundle, "trust": True, "device": "cpu"}
    one, other = segment(folder, **options), monai_tumor.segment(files, **options)
    assert np.array_equal(one.label_map, other.label_map)
    assert one.study == folder.name
    assert str(one).startswith(f"{folder.name}: WT ")


def test_segment_wants_one_study(tiny_bundle, studies):
    with pytest.raises(InputError, match=r"holds 3 studies .*; give one, or use"):
        segment(studies, bundle=tiny_bundle, trust=True)


def test_command_line(studies, tmp_path, capsys, tiny_bundle, monkeypatch):
    class Tiny(module.Segmenter):
        def __init__(self, bundle, **more):
            assert bundle == "brats_ensemble"  # the default
            assert not more["trust"]
            super().__init__(tiny_bundle, **more | {"trust": True})

    monkeypatch.setattr(module, "Segmenter", Tiny)
    (studies / "BraTS-GLI-00003-000" / "BraTS-GLI-00003-000-t2f.nii.gz").unlink()
    asked = ["--backend", "torch", "--max-memory", "2GB", "--json"]
    code = cli.main(["segment", str(studies), "-o", str(tmp_path / "out"), *asked])
    shown = json.loads(capsys.readouterr().out)
    assert code == 3
    assert sorted(shown["done"]) == ["BraTS-GLI-00001-000", "BraTS-GLI-00002-000"]
    assert list(shown["errors"]) == ["BraTS-GLI-00003-000"]

    def broken(*args, **more):
        raise ZeroDivisionError

    monkeypatch.setattr(module.Segmenter, "predict", broken)
    code = cli.main(["segment", str(studies), "-o", str(tmp_path / "out"), *asked])
    assert code == 1
    assert len(json.loads(capsys.readouterr().out)["defects"]) == 2


def test_command_line_without_weights(studies, tmp_path, capsys):
    arguments = ["segment", str(studies), "-o", str(tmp_path / "out"), "--bundle"]
    assert cli.main([*arguments, "brats_swin_unetr"]) == BundleError.exit_code
    assert capsys.readouterr().err.startswith("error: Bundle 'brats_swin_unetr' has no weights")
