import json
import re

import nibabel as nib
import numpy as np
import pytest

from monai_tumor.errors import InputError, MonaiTumorError, SchemeError, StudyError
from monai_tumor.labels import Region
from monai_tumor.metrics.segmentation import LesionRule
from monai_tumor.services.evaluate import compare, evaluate

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
RAS = np.array([[1.0, 0, 0, -15], [0, 1, 0, -13], [0, 0, 1, 0], [0, 0, 0, 1]])


def label_map(shift=0):
    """BraTS 2021 labels: oedema 8x8x8 around core 4x4x4 around enhancing 2x2x2; lopsided."""
    labels = np.zeros((16, 14, 12), np.uint8)
    labels[2 + shift : 10 + shift, 2:10, 1:9] = 2
    labels[3 + shift : 7 + shift, 3:7, 2:6] = 1
    labels[4 + shift : 6 + shift, 4:6, 3:5] = 4
    return labels


def save(path, labels, affine=LPS):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, affine), path)
    return path


@pytest.fixture
def pair(tmp_path):
    return (
        save(tmp_path / "p.nii.gz", label_map(1)),
        save(tmp_path / "t_seg.nii.gz", label_map()),
    )


def dices(result):
    return {
        name: {region.value: scores.dice for region, scores in case.regions.items()}
        for name, case in result.table.cases.items()
    }


SHIFTED = pytest.approx({"TC": 3 / 4, "WT": 7 / 8, "ET": 1 / 2})
PERFECT = {"TC": 1, "WT": 1, "ET": 1}


def error(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def test_two_files(pair):
    result = evaluate(*pair, scheme="brats2021")
    assert dices(result) == {"t": SHIFTED}
    scores = result.table.cases["t"].regions[Region.WT]
    assert (scores.hd95_mm, scores.truth_ml, scores.volume_error_ml) == (1, 0.512, 0)
    assert str(result).startswith("1 case, label scheme brats2021")


def test_spacing_comes_from_the_truth(tmp_path):
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    files = [save(tmp_path / f"{s}.nii", label_map(s), affine) for s in (1, 0)]
    scores = evaluate(*files, scheme="brats2021").table.cases["0"].regions[Region.WT]
    assert (scores.hd95_mm, scores.truth_ml) == (2, pytest.approx(0.512 * 6))


def test_predictions_in_another_scheme(tmp_path, pair):
    msd = np.array([0, 2, 1, 0, 3], np.uint8)[label_map(1)]
    prediction = save(tmp_path / "msd.nii.gz", msd)
    result = evaluate(prediction, pair[1], scheme="brats2021", prediction_scheme="msd")
    assert dices(result) == {"t": SHIFTED}
    assert result.as_dict()["prediction_scheme"] == "msd"


def test_another_orientation_is_brought_together_exactly(tmp_path, pair):
    # The same voxels at the same places: LPS flipped into RAS by hand, and axes swapped.
    ras = save(tmp_path / "ras.nii.gz", label_map()[::-1, ::-1], RAS)
    swapped = save(
        tmp_path / "swapped.nii.gz",
        np.ascontiguousarray(label_map().transpose(2, 0, 1)),
        LPS[:, [2, 0, 1, 3]],
    )
    for prediction in (ras, swapped):
        assert dices(evaluate(prediction, pair[1], scheme="brats2021")) == {"t": PERFECT}
    assert dices(evaluate(pair[0], ras, scheme="brats2021")) == {"ras": SHIFTED}


def test_rounded_headers_and_float_label_maps_pass(tmp_path, pair):
    affine = LPS.copy()
    affine[:3, 3] += 0.004
    prediction = save(tmp_path / "float.nii.gz", label_map().astype(np.float32)[..., None], affine)
    assert dices(evaluate(prediction, pair[1], scheme="brats2021")) == {"t": PERFECT}


@pytest.fixture
def layouts(tmp_path):
    """The same three subjects: nnU-Net predictions, a BraTS tree, an MSD data set."""
    names = ["BraTS2021_00001", "BraTS2021_00002", "BraTS2021_0003"]
    for number, name in enumerate(names):
        save(tmp_path / "nnunet" / f"{name}.nii.gz", label_map(number % 2))
        save(tmp_path / "monai" / name / f"{name}_flair_seg.nii.gz", label_map(number % 2))
        save(tmp_path / "brats" / name / f"{name}{'_-'[number % 2]}seg.nii.gz", label_map())
        for modality in ("flair", "t1", "t1ce", "t2"):
            save(tmp_path / "brats" / name / f"{name}_{modality}.nii.gz", label_map() * 30)
        save(tmp_path / "msd" / "labelsTr" / f"{name}.nii.gz", label_map())
        save(tmp_path / "msd" / "imagesTr" / f"{name}.nii.gz", label_map() * 30)
    (tmp_path / "msd" / "labelsTr" / f"._{names[0]}.nii.gz").write_bytes(b"junk of macOS")
    return tmp_path, names


@pytest.mark.parametrize("prediction", ["nnunet", "monai"])
@pytest.mark.parametrize("truth", ["brats", "msd"])
def test_folders_are_matched_by_subject(layouts, prediction, truth):
    root, names = layouts
    seen = []
    result = evaluate(
        root / prediction,
        root / truth,
        scheme="brats2021",
        on_case=lambda *args: seen.append(args),
    )
    assert dices(result) == {names[0]: PERFECT, names[1]: SHIFTED, names[2]: PERFECT}
    assert seen == [(name, number, 3) for number, name in enumerate(names)]
    assert (result.missing, result.extra) == ((), ())


def test_missing_and_extra_predictions(layouts):
    root, names = layouts
    prediction = root / "nnunet"
    (prediction / f"{names[1]}.nii.gz").rename(prediction / "other.nii.gz")
    with error(
        InputError,
        "No prediction for 1 of 3 subjects: BraTS2021_00002. Add them, or allow missing "
        "predictions to leave them out of the means.",
    ):
        evaluate(prediction, root / "brats", scheme="brats2021")
    result = evaluate(
        prediction, root / "brats", scheme="brats2021", allow_missing=True, output=root / "out"
    )
    assert (result.missing, result.extra) == ((names[1],), ("other",))
    assert result.table.summary()[Region.WT]["dice"].n == 2
    written = json.loads((root / "out" / "scores.json").read_text())
    assert written == result.as_dict()
    assert (written["missing"], written["extra"]) == ([names[1]], ["other"])
    for text in (str(result), (root / "out" / "scores.md").read_text()):
        assert "No prediction, left out of the means: BraTS2021_00002" in text
        assert "No truth, not scored: other" in text


def test_nothing_matches(tmp_path):
    save(tmp_path / "p" / "a.nii.gz", label_map())
    for number in range(12):
        save(tmp_path / "t" / f"b{number:02}.nii.gz", label_map())
    with error(
        InputError,
        f"No prediction matches a subject of the truth: found a in {tmp_path / 'p'} and b00, b01, "
        f"b02, b03, b04, b05, b06, b07, b08, b09 and 2 more in {tmp_path / 't'}. Name the files "
        "by subject.",
    ):
        evaluate(tmp_path / "p", tmp_path / "t", scheme="msd", allow_missing=True)


def test_lesion_rule_is_used_and_recorded(pair):
    rule = LesionRule(min_volume_mm3=600)
    result = evaluate(*pair, scheme="brats2021", rule=rule)
    assert result.table.cases["t"].regions[Region.WT].lesions == 0
    assert result.as_dict()["lesion_rule"]["min_volume_mm3"] == 600


def test_paths_that_do_not_fit(tmp_path, pair):
    p, t = pair
    absent = tmp_path / "absent.nii.gz"
    with error(InputError, f"{absent} does not exist; give a NIfTI label map or a folder of them."):
        evaluate(absent, t, scheme="msd")
    with error(
        InputError,
        f"Give two label maps or two folders; found a file ({p}) and a folder ({tmp_path}).",
    ):
        evaluate(p, tmp_path, scheme="msd")
    empty = tmp_path / "empty"
    empty.mkdir()
    with error(
        InputError,
        f"No label maps in {empty}; expected NIfTI files such as case.nii.gz or case-seg.nii.gz.",
    ):
        evaluate(empty, tmp_path, scheme="msd")
    twice = [save(tmp_path / "two" / f"a{end}.nii.gz", label_map()) for end in ("-seg", "_seg")]
    with error(InputError, f"Two label maps of subject 'a': {twice[0]} and {twice[1]}; keep one."):
        evaluate(tmp_path / "two", tmp_path / "two", scheme="msd")
    with error(
        SchemeError,
        "Unknown label scheme 'brats'; choose one of msd, brats2021, brats2023, brats2024, "
        "ped2024, msd_as_published.",
    ):
        evaluate(absent, t, scheme="brats")


def test_files_that_are_no_label_maps(tmp_path, pair):
    _, t = pair
    half = save(tmp_path / "half.nii.gz", label_map() * np.float32(0.375))
    nan = label_map().astype(np.float32)
    nan[0, 0, 0] = np.nan
    flat = save(tmp_path / "flat.nii", label_map())
    image = nib.load(flat)
    image.set_sform(np.zeros((4, 4)), 1)
    nib.save(image, tmp_path / "flat2.nii")
    cut = tmp_path / "cut.nii.gz"
    noise = np.random.default_rng(0).integers(0, 3, (16, 14, 12), np.uint8)
    whole = save(tmp_path / "whole.nii.gz", noise)
    cut.write_bytes(whole.read_bytes()[:-200])
    text = tmp_path / "text.nii"
    text.write_text("no image")
    four = save(tmp_path / "four.nii", np.zeros((16, 14, 12, 3), np.uint8))
    end = "a label map needs integers. Threshold probabilities and write a label map first."
    for path, kind, message in [
        (half, StudyError, f"{half} holds 0.75; {end}"),
        (save(tmp_path / "n.nii", nan), StudyError, f"{tmp_path / 'n.nii'} holds nan; {end}"),
        (
            tmp_path / "flat2.nii",
            StudyError,
            f"{tmp_path / 'flat2.nii'} has an affine that places no voxels; repair its header.",
        ),
        (
            four,
            StudyError,
            f"{four} has shape 16x14x12x3 and type uint8; a label map needs X, Y and Z alone, and "
            "plain numbers.",
        ),
        (
            save(tmp_path / "rgb.nii", np.zeros((4, 4, 4), [(c, np.uint8) for c in "RGB"])),
            StudyError,
            f"{tmp_path / 'rgb.nii'} has shape 4x4x4 and type "
            "[('R', 'u1'), ('G', 'u1'), ('B', 'u1')]; a label map needs X, Y and Z alone, and "
            "plain numbers.",
        ),
        (
            cut,
            InputError,
            f"Cannot read {cut}: Compressed file ended before the end-of-stream marker was "
            "reached. Write it again.",
        ),
        (
            text,
            InputError,
            f'Cannot read {text}: Cannot work out file type of "{text}". Write it again.',
        ),
    ]:
        with error(kind, message):
            evaluate(path, t, scheme="brats2021")


def test_values_that_the_scheme_does_not_know(pair):
    p, t = pair
    with error(
        SchemeError,
        f"{p} holds label values [4], which scheme 'brats2023' does not know (it has 1, 2, 3); "
        "state the scheme it was written in.",
    ):
        evaluate(p, t, scheme="brats2021", prediction_scheme="brats2023")


def test_other_grids(tmp_path, pair):
    _, t = pair
    end = "; resample the prediction onto the truth's grid (nearest neighbour) first."
    small = save(tmp_path / "small.nii.gz", label_map()[:-1])
    with error(
        StudyError,
        f"{small} and {t} are on different grids: 15x14x12 and 16x14x12 voxels{end}",
    ):
        evaluate(small, t, scheme="brats2021")
    moved = LPS.copy()
    moved[2, 3] = 2
    for name, affine, apart in [("moved", moved, "2"), ("flipped", np.eye(4), "19.8")]:
        path = save(tmp_path / f"{name}.nii.gz", label_map(), affine)
        with error(
            StudyError, f"{path} and {t} are on different grids: corners lie {apart} mm apart{end}"
        ):
            evaluate(path, t, scheme="brats2021")


@pytest.fixture
def two_models(tmp_path):
    """Six cases; the first model is off by one voxel in all, the second in one."""
    for number in range(6):
        save(tmp_path / "truth" / f"c{number}.nii.gz", label_map())
        save(tmp_path / "first" / f"c{number}.nii.gz", label_map(1))
        save(tmp_path / "second" / f"c{number}.nii.gz", label_map(number == 0))
    return [
        evaluate(tmp_path / m, tmp_path / "truth", scheme="brats2021", output=tmp_path / f"{m}_out")
        for m in ("first", "second")
    ], tmp_path


def test_compare(two_models):
    (first, second), root = two_models
    result = compare(first, second)
    found = result.results["dice"][Region.ET]
    # Five of six are better, by the same: 2/32, and thrice that after Holm over three regions.
    assert found.median == pytest.approx(0.5)
    assert (found.n, found.n_differ) == (6, 5)
    assert found.p == pytest.approx(2 / 32)
    assert found.p_holm == pytest.approx(6 / 32)
    assert result.results["hd95_mm"][Region.WT].median == pytest.approx(-1)
    assert compare(root / "first_out", root / "second_out" / "scores.json").results == (
        result.results
    )
    text = str(result)
    assert text.startswith("second minus first, cases: 6, label scheme brats2021")
    assert re.search(r"Dice +ET +0\.500 \[0\.\d{3}, 0\.500\] +5 +0\.062 +0\.19", text)
    assert json.loads(json.dumps(result.as_dict()))["differences"]["dice"]["ET"]["n"] == 6


def test_comparisons_that_say_nothing(two_models, tmp_path):
    (first, _), root = two_models
    (root / "second" / "c3.nii.gz").unlink()
    fewer = evaluate(root / "second", root / "truth", scheme="brats2021", allow_missing=True)
    with error(
        InputError,
        "first and second must hold the same cases; only one has c3. Evaluate both on the same "
        "cases.",
    ):
        compare(first, fewer)
    other = evaluate(
        root / "first", root / "truth", scheme="brats2021", rule=LesionRule(dilation_voxels=1)
    )
    with error(
        InputError,
        "first and second were scored by other lesion rules or regions; evaluate both alike.",
    ):
        compare(first, other)
    content = first.as_dict() | {"scheme": "msd"}
    msd = tmp_path / "msd.json"
    msd.write_text(json.dumps(content))
    with error(
        SchemeError,
        f"The truth of first is in scheme 'brats2021', that of {msd} in 'msd'; evaluate both in "
        "one scheme.",
    ):
        compare(first, msd)
    msd.write_text("{}")
    with error(
        InputError,
        f"{msd}: Not monai_tumor scores of version 1: found format None, version None. Give the "
        "JSON that the evaluation wrote.",
    ):
        compare(first, msd)
    msd.write_text("{")
    with pytest.raises(InputError, match=re.escape(f"Cannot read scores from {msd}: Expecting")):
        compare(first, msd)
    with pytest.raises(InputError, match=re.escape(f"Cannot read scores from {root}/scores.json")):
        compare(first, root)


def test_output_that_cannot_be_written(pair, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MonaiTumorError, match=r"^Cannot write .*file/scores\.json: File exists\."):
        evaluate(*pair, scheme="brats2021", output=tmp_path / "file")


def test_real_cases_of_both_layouts_against_themselves(real_data):
    for layout, name in [("2021", "brats2021"), ("2023", "brats2023")]:
        folder = sorted((real_data / "brats" / layout).iterdir())[0]
        result = evaluate(folder, folder, scheme=name)
        (scores,) = result.table.cases.values()
        assert [s.dice for s in scores.regions.values()] == [1, 1, 1]
        assert scores.regions[Region.WT].truth_ml > 1
