import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from monai.transforms import AsDiscreted

from monai_tumor.errors import StudyError
from monai_tumor.labels import REGIONS
from monai_tumor.metrics.segmentation import score_case
from monai_tumor.training import RegionMetrics, SaveScores, scores

SPACING = (1.0, 2.0, 3.0)
CPU = torch.device("cpu")


def box(x, size=4):
    mask = torch.zeros(16, 12, 10)
    mask[x : x + size, 3:8, 2:7] = 1
    return mask


def case(name, truth, prediction):
    """Truth and, in the place of an image, what the network is to say."""
    affine = torch.diag(torch.tensor([*SPACING, 1.0]))
    return {
        "image": MetaTensor(torch.stack(prediction), affine=affine),
        "label": MetaTensor(torch.stack(truth), affine=affine),
        **({"study": name} if name else {}),
    }


EMPTY = torch.zeros(16, 12, 10)
CASES = [
    case("P2", [box(3), box(2, 6), EMPTY], [box(3), box(3, 6), EMPTY]),  # ET: both empty
    case("P1", [box(3), box(2, 6), box(4, 1)], [EMPTY, box(2, 6), box(12, 1)]),
    case("P3", [box(5), box(5), EMPTY], [box(6), box(5), box(5, 1)]),  # ET: false positive
]


class Logits(torch.nn.Module):
    def forward(self, x):
        return x * 10 - 5


def evaluate(cases=CASES, batch_size=1, handlers=()):
    engine = SupervisedEvaluator(
        device=CPU,
        val_data_loader=DataLoader(Dataset(cases), batch_size=batch_size),
        network=Logits(),
        inferer=SimpleInferer(),
        postprocessing=AsDiscreted("pred", threshold=0.0),
        key_val_metric={"Dice/mean": RegionMetrics()},
        val_handlers=list(handlers),
    )
    engine.run()
    return engine


def expected(cases=CASES):
    """Study -> scores, by the scoring function on plain arrays."""
    return {
        c["study"]: score_case(c["image"].numpy() > 0.5, c["label"].numpy() > 0.5, SPACING)
        for c in cases
    }


@pytest.mark.parametrize("batch_size", [1, 3])
def test_means_are_those_of_the_cases(batch_size):
    metrics = evaluate(batch_size=batch_size).state.metrics
    cases = expected().values()
    for tag, attribute in (
        ("Dice", "dice"),
        ("HD95", "hd95_mm"),
        ("lesion-wise Dice", "lesion_dice"),
    ):
        for region in REGIONS:
            values = [getattr(c.regions[region], attribute) for c in cases]
            assert metrics[f"{tag}/{region}"] == pytest.approx(np.mean(values))
    dice = [metrics[f"Dice/{r}"] for r in ("TC", "WT", "ET")]
    assert metrics["Dice/mean"] == pytest.approx(np.mean(dice))


def test_figures_worked_out_by_hand():
    metrics = evaluate().state.metrics
    # TC: equal, none found, boxes of 4 moved by 1. WT: boxes of 6 moved by 1, equal, equal.
    assert metrics["Dice/TC"] == pytest.approx((1 + 0 + 6 / 8) / 3)
    assert metrics["Dice/WT"] == pytest.approx((10 / 12 + 1 + 1) / 3)
    # ET: both empty, elsewhere, false positive.
    assert metrics["Dice/ET"] == pytest.approx((1 + 0 + 0) / 3)
    alone = evaluate(CASES[2:]).state.metrics
    assert alone["HD95/ET"] == 374
    assert alone["HD95/TC"] == pytest.approx(1)  # one voxel of 1 mm along x


def test_the_scores_of_each_study_by_name_and_sorted():
    state = evaluate(batch_size=2).state
    assert list(state.case_scores) == ["P1", "P2", "P3"]
    assert state.case_scores == expected()
    assert state.key_metric_name == "Dice/mean"


def test_a_second_run_forgets_the_first():
    engine = evaluate()
    engine.data_loader = DataLoader(Dataset(CASES[:1]), batch_size=1)
    engine.state.epoch_length = 1
    engine.run()
    assert list(engine.state.case_scores) == ["P2"]


def test_items_without_a_name_are_numbered():
    cases = [case(None, [box(3)] * 3, [box(3)] * 3), case(None, [box(3)] * 3, [EMPTY] * 3)]
    assert list(evaluate(cases).state.case_scores) == ["0", "1"]


def test_a_study_that_comes_twice_is_refused():
    expected = (
        "Study 'P2' comes twice; one would take the place of the other. "
        'Give each its own "study" in the datalist.'
    )
    with pytest.raises(StudyError, match=f"^{re.escape(expected)}$"):
        evaluate([CASES[0], CASES[1], CASES[0]])


def test_what_is_not_a_number_is_left_out_of_means():
    assert scores._mean([0.5, float("nan"), 1.0]) == 0.75
    assert np.isnan(scores._mean([float("nan")]))
    assert np.isnan(scores._mean([]))


@pytest.mark.parametrize("others", [CASES[1:], CASES])
def test_every_process_holds_the_scores_of_all(monkeypatch, others):
    """A sampler may give one study to two processes, to fill up; it counts once."""
    other = expected(others)

    def all_gather_object(into, own):
        assert list(own) == ["P2"]
        into[:] = [own, other]

    distributed = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        get_world_size=lambda: 2,
        all_gather_object=all_gather_object,
    )
    monkeypatch.setattr(scores, "torch", SimpleNamespace(distributed=distributed))
    state = evaluate(CASES[:1]).state
    assert state.case_scores == expected()
    dice = [c.regions[REGIONS[1]].dice for c in expected().values()]
    assert state.metrics["Dice/WT"] == pytest.approx(np.mean(dice))


def test_scores_are_written_as_csv_json_and_markdown(tmp_path):
    handler = SaveScores(tmp_path / "out", "brats2023", {"bundle": "brats_unetr"})
    metrics = evaluate(handlers=[handler]).state.metrics
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "scores.csv",
        "scores.json",
        "scores.md",
    ]
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert written["made_by"] == {"bundle": "brats_unetr"}
    assert written["cases"]["P1"]["WT"]["dice"] == 1.0
    assert "brats2023" in (tmp_path / "out" / "scores.json").read_text()
    assert f"{metrics['Dice/WT']:.3f}" in (tmp_path / "out" / "scores.md").read_text()
    assert "P3" in (tmp_path / "out" / "scores.csv").read_text()


def test_the_schemes_of_truth_and_prediction_are_both_told(tmp_path):
    schemes = ("msd", "brats2021", "msd")
    cases = [c | {"scheme": scheme} for c, scheme in zip(CASES, schemes, strict=True)]
    evaluate(cases, handlers=[SaveScores(tmp_path, "brats2023")])
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["prediction_scheme"] == "brats2023"
    assert written["truth_schemes"] == ["brats2021", "msd"]
    assert written["scheme"] == "brats2023"


def test_other_ranks_write_nothing(tmp_path):
    evaluate(handlers=[SaveScores(tmp_path / "out", "brats2023", active=False)])
    assert not (tmp_path / "out").exists()
