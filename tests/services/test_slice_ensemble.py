"""Ensembles of slice classifiers, against weights worked out by hand; scores by subgroup."""

from pathlib import Path

import numpy as np
import pytest

from monai_tumor.errors import InputError
from monai_tumor.metrics.predictions import Predictions
from monai_tumor.services.evaluate_slices import evaluate_slices
from monai_tumor.services.slice_ensemble import ensemble_of

SURE = np.log(9.0)  # logit of a probability of 0.9


def said(names: str, right: str, **more) -> Predictions:
    """Slices of class a by name; of those in `right` 0.9 was said for a, of the others 0.1."""
    logits = np.array([[SURE if name in right else -SURE, 0.0] for name in names])
    labels = np.zeros(len(names), np.int64)
    return Predictions(logits, labels, ("a", "b"), tuple(names), **more)


def test_one_network_is_itself():
    made = ensemble_of([said("xy", "x")], [said("pq", "p")], ["n"], "stacking")
    assert (made.test.names, made.validation.names, made.weights) == (("x", "y"), ("p", "q"), ())


def test_accuracy_weighs_by_validation():
    made = ensemble_of(
        [said("xy", "x"), said("xy", "y")], [said("pqrs", "pqr"), said("pqrs", "p")], ["n", "n"],
        "accuracy",
    )  # fmt: skip
    assert made.weights == (0.75, 0.25)
    chances = np.exp(made.test.logits)
    assert chances[:, 0] == pytest.approx([0.75 * 0.9 + 0.25 * 0.1, 0.75 * 0.1 + 0.25 * 0.9])


def test_folds_of_two_networks_are_stacked_by_what_they_did_not_learn_from():
    """Network n is right on all of its left-out slices and m on none: n gets all the weight."""
    tests = [said("xy", "x")] * 4
    folds = [said("pq", "pq"), said("rs", "rs"), said("pr", ""), said("qs", "")]
    made = ensemble_of(tests, folds, ["n", "n", "m", "m"], "stacking")
    assert made.validation.names == ("p", "q", "r", "s")
    assert made.weights == pytest.approx((0.5, 0.5, 0.0, 0.0), abs=1e-6)
    assert np.exp(made.validation.logits)[:, 0] == pytest.approx([0.9] * 4)
    made = ensemble_of(tests, folds, ["n", "n", "m", "m"], "mean")
    assert made.weights == (0.5,) * 4
    assert np.exp(made.validation.logits)[:, 0] == pytest.approx([0.5] * 4)


def test_unequal_folds_share_their_networks_weight():
    folds = [said("pqrs", "pq"), said("pq", "p"), said("rs", "r")]
    made = ensemble_of([said("x", "x")] * 3, folds, ["n", "m", "m"], "accuracy")
    assert made.weights == (0.5, 0.25, 0.25)


@pytest.mark.parametrize(
    "folds",
    [
        [said("pq", "p"), said("rs", "r"), said("pq", "p")],  # a fold of the second is missing
        [said("pq", "p"), said("qr", "r"), said("pqr", "p")],  # a slice in two folds
    ],
)
def test_parts_of_cross_validations_are_refused(folds):
    with pytest.raises(InputError, match="cross-validation"):
        ensemble_of([said("x", "x")] * 3, folds, ["n", "n", "m"], "stacking")


def test_unknown_ways_are_refused():
    with pytest.raises(InputError, match="choose of mean, accuracy, stacking"):
        ensemble_of([said("x", "x")], [said("p", "p")], ["n"], "vote")


# -- by subgroup


@pytest.fixture(autouse=True)
def _few_replicates(monkeypatch):
    monkeypatch.setattr("monai_tumor.metrics.classification.REPLICATES", 20)


def saved(folder: Path, settings: dict | None = None, split: dict | None = None) -> list[Path]:
    columns = {
        "scanner": ("A", "A", "B", "B", "B", ""),
        "date": tuple("123456"),
        "site": ("one",) * 6,
    }
    random = np.random.default_rng(0)
    labels = np.array([0, 1, 0, 1, 1, 0])
    logits = np.array([[0, 0], [0, 2], [1, 0], [1, 0], [0, 1], [3, 0]]) + 0.01
    logits[0] = [0, 1]
    test = Predictions(logits, labels, ("a", "b"), tuple("uvwxyz"), columns=columns)
    held = Predictions(random.normal(size=(6, 2)) + logits, labels, ("a", "b"), tuple("abcdef"))
    facts = {"made_by": {"options": {"settings": settings or {}}}, "split": split or {}}
    return [test.save(folder / "test.json", facts), held.save(folder / "validation.json", facts)]


def test_scores_by_subgroup(tmp_path, monkeypatch):
    monkeypatch.setattr("monai_tumor.services.evaluate_slices._MOST_SUBGROUPS", 5)
    test, validation = saved(tmp_path)
    found = evaluate_slices([test], [validation], threshold=0.5, output=tmp_path / "out")
    accuracy = {title: one.figures["accuracy"].value for title, one in found.subgroups.items()}
    # A date a slice parts nothing, nor does one site; the last slice names no scanner.
    assert accuracy == pytest.approx({"scanner: A": 0.5, "scanner: B": 2 / 3})
    assert "scanner: B: 3 slices, accuracy 0.6667" in str(found)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h2>Subgroups</h2>" in page
    assert "scanner: A" in page


def test_a_training_may_fix_the_threshold(tmp_path):
    test, validation = saved(tmp_path, {"threshold": 0.5})
    assert evaluate_slices([test], [validation]).threshold == 0.5
    assert evaluate_slices([test], [validation], threshold=0.7).threshold == 0.7
    test, validation = saved(tmp_path, {"threshold": None})
    assert evaluate_slices([test], [validation]).threshold not in (None, 0.5)


def test_an_ensemble_has_the_worst_of_its_members_splits(tmp_path):
    """A member of whose split nothing is known is no proof that there is no leak."""
    side = {"share": 0.5, "slices": 6, "side": "test", "leaking": True}
    splits = {
        "clean": {"leak": {"leaking": False, "sides": []}},
        "unknown": {},
        "leaking": {"leak": {"leaking": True, "sides": [side]}},
    }
    files = {name: saved(tmp_path / name, split=split) for name, split in splits.items()}

    def stamp(*names: str) -> str:
        return evaluate_slices(*zip(*(files[name] for name in names), strict=True)).stamp

    assert stamp("clean", "clean").startswith("No leak")
    assert stamp("clean", "unknown") == "It is not known whether this split leaks."
    assert stamp("clean", "unknown", "leaking").startswith("LEAKING SPLIT")
