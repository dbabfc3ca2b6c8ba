"""Scores of classes, against numbers by hand and scikit-learn."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from monai_tumor.errors import InputError
from monai_tumor.metrics.classification import (
    choose_threshold,
    classification_scores,
    confusion,
    decision_threshold,
    fit_temperature,
    pr_auc,
    reliability,
    roc_auc,
)
from monai_tumor.metrics.predictions import (
    Predictions,
    accuracy_weights,
    combined,
    decide,
    joined,
    probabilities,
    require_threshold,
    stacking_weights,
)


def some(count=200, classes=3, seed=0, skill=1.5, **more) -> Predictions:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    logits = random.normal(size=(count, classes)) + skill * np.eye(classes)[labels]
    return Predictions(logits, labels, tuple("abcd"[:classes]), **more)


def test_by_hand():
    # Truth a a a b; said a a b b.
    logits = np.array([[2, 0], [1, 0], [0, 1], [0, 3]], float)
    scores = classification_scores(
        Predictions(logits, np.array([0, 0, 0, 1]), ("a", "b")), intervals=False
    )
    value = {name: figure.value for name, figure in scores.figures.items()}
    assert value["accuracy"] == 0.75
    assert value["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert value["precision"] == 0.5  # of b, the second of two
    assert value["recall"] == 1.0
    assert value["specificity"] == pytest.approx(2 / 3)
    assert value["f1"] == pytest.approx(2 / 3)
    assert value["roc_auc"] == 1.0
    assert scores.confusion.tolist() == [[2, 1], [0, 1]]
    assert scores.per_class["a"]["precision"] == 1.0
    assert scores.per_class["a"]["support"] == 3


def test_as_scikit_learn():
    found = some()
    chances = probabilities(found.logits)
    said = chances.argmax(1)
    scores = classification_scores(found, intervals=False)
    value = {name: figure.value for name, figure in scores.figures.items()}
    macro = {"average": "macro"}
    expected = {
        "accuracy": reference.accuracy_score(found.labels, said),
        "balanced_accuracy": reference.balanced_accuracy_score(found.labels, said),
        "precision": reference.precision_score(found.labels, said, **macro),
        "recall": reference.recall_score(found.labels, said, **macro),
        "f1": reference.f1_score(found.labels, said, **macro),
        "roc_auc": reference.roc_auc_score(found.labels, chances, multi_class="ovr"),
        "log_loss": reference.log_loss(found.labels, chances),
    }
    assert {name: value[name] for name in expected} == pytest.approx(expected)
    matrix = reference.confusion_matrix(found.labels, said)
    assert np.array_equal(confusion(found.labels, said, 3), matrix)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_areas_as_scikit_learn_with_ties(pairs):
    truth = np.array([pair[0] for pair in pairs])
    scores = np.array([pair[1] for pair in pairs], float)
    if truth.all() or not truth.any():
        assert np.isnan(roc_auc(truth, scores))
        return
    assert roc_auc(truth, scores) == pytest.approx(reference.roc_auc_score(truth, scores))
    assert pr_auc(truth, scores) == pytest.approx(reference.average_precision_score(truth, scores))


def test_reliability_by_hand():
    chances = np.array([[0.95, 0.05], [0.94, 0.06], [0.45, 0.55], [0.55, 0.45]])
    bins = reliability(np.array([0, 1, 1, 0]), chances)
    assert [(b.count, b.accuracy) for b in bins] == [(2, 1.0), (2, 0.5)]
    assert [b.confidence for b in bins] == pytest.approx([0.55, 0.945])
    logits = np.log(chances)
    found = classification_scores(
        Predictions(logits, np.array([0, 1, 1, 0]), ("a", "b")), intervals=False
    )
    assert found.figures["ece"].value == pytest.approx((2 * 0.45 + 2 * 0.445) / 4)


def test_temperature_finds_what_logits_were_multiplied_by():
    random = np.random.default_rng(1)
    logits = random.normal(size=(5000, 3)) * 2
    chances = probabilities(logits)
    labels = np.array([random.choice(3, p=p) for p in chances])
    assert fit_temperature(Predictions(3 * logits, labels, ("a", "b", "c"))) == pytest.approx(
        3, rel=0.1
    )


def test_threshold_is_between_the_classes():
    chances = np.array([0.05, 0.1, 0.2, 0.3, 0.4])
    logits = np.stack([np.zeros(5), np.log(chances / (1 - chances))], axis=1)
    found = Predictions(logits, np.array([0, 0, 1, 1, 1]), ("healthy", "tumour"))
    threshold = choose_threshold(found)
    assert threshold == pytest.approx(0.15)
    scores = classification_scores(found, threshold=threshold, intervals=False)
    assert scores.figures["accuracy"].value == 1.0
    assert classification_scores(found, intervals=False).figures["recall"].value == 0.0
    with pytest.raises(InputError, match="two classes"):
        choose_threshold(some())
    with pytest.raises(InputError, match="A threshold is for two classes; there are 3"):
        classification_scores(some(), threshold=0.5)


def test_intervals_know_that_groups_belong_together():
    one = some(150, 2)
    repeated = Predictions(
        np.repeat(one.logits, 4, axis=0),
        np.repeat(one.labels, 4),
        one.classes,
        groups=tuple(str(n) for n in np.repeat(np.arange(150), 4)),
    )

    def width(predictions):
        figure = classification_scores(predictions).figures["accuracy"]
        return figure.high - figure.low

    assert width(repeated) == pytest.approx(width(one), rel=0.2)
    alone = Predictions(repeated.logits, repeated.labels, repeated.classes)
    assert width(alone) == pytest.approx(width(one) / 2, rel=0.2)


def test_baseline_and_leak_stand_beside_the_scores():
    found = some(100, 2, leaks=np.arange(100) < 30, neighbours=np.zeros(100, np.int64), groups=())
    scores = classification_scores(found, intervals=False)
    assert scores.leaking == 0.3
    assert scores.neighbour.value == pytest.approx((found.labels == 0).mean())
    assert "nearest neighbour" in str(scores)
    assert "30.0% of these slices" in str(scores)
    assert scores.as_dict()["leaking_share"] == 0.3
    assert len(found.only(~found.leaks)) == 70


def test_predictions_survive_a_file(tmp_path):
    found = some(10, leaks=np.arange(10) < 3, names=tuple("abcdefghij"))
    found.save(tmp_path / "p.json", {"side": "test"})
    again, facts = Predictions.load(tmp_path / "p.json")
    np.testing.assert_allclose(again.logits, found.logits, atol=1e-6)
    assert (again.names, facts) == (found.names, {"side": "test"})
    assert again.leaks.tolist() == found.leaks.tolist()
    (tmp_path / "p.json").write_text("{}")
    with pytest.raises(InputError, match="holds no slice predictions"):
        Predictions.load(tmp_path / "p.json")
    with pytest.raises(InputError, match="not finite"):
        Predictions(np.full((1, 2), np.nan), np.array([0]), ("a", "b"))
    with pytest.raises(InputError, match="need logits of that shape"):
        Predictions(np.zeros((2, 3)), np.array([0]), ("a", "b"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: [], "holds no slice predictions"),
        (lambda c: {k: v for k, v in c.items() if k != "labels"}, "damaged.*'labels'"),
        (lambda c: c | {"logits": [[1.0], [2.0, 3.0]]}, "damaged"),
        (lambda c: c | {"names": None}, "damaged"),
        (lambda c: c | {"columns": []}, "damaged"),
    ],
)
def test_other_files_than_predictions_are_named(change, words, tmp_path):
    path = some(10).save(tmp_path / "p.json")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=words):
        Predictions.load(path)


def test_an_ensemble_leaks_where_any_member_learnt_from_a_twin():
    told = [
        some(3, leaks=np.array(leaks)) for leaks in ([True, False, False], [False, True, False])
    ]
    assert combined(told).leaks.tolist() == [True, True, False]
    assert combined([told[0], some(3)]).leaks is None


def test_columns_go_with_their_slices_into_files_and_subsets(tmp_path):
    items = [{"columns": {"scanner": "A"}}, {"columns": {"scanner": "B", "age": "old"}}, {}]
    made = Predictions.of_items(np.zeros((3, 2)), np.array([0, 1, 1]), ("a", "b"), items)
    assert made.columns == {"scanner": ("A", "B", ""), "age": ("", "old", "")}
    again, _ = Predictions.load(made.save(tmp_path / "p.json"))
    assert again.columns == made.columns
    assert made.only(np.array([False, True, True])).columns["scanner"] == ("B", "")
    assert made.only(np.array([2, 0])).columns["scanner"] == ("", "A")


def test_an_ensemble_is_the_mean_probability_and_weights_come_from_validation():
    good, bad = some(skill=4.0), some(skill=0.0)
    both = combined([good, bad])
    mean = (probabilities(good.logits) + probabilities(bad.logits)) / 2
    np.testing.assert_allclose(probabilities(both.logits), mean, atol=1e-9)
    assert accuracy_weights([good, bad])[0] > 0.9
    shares = stacking_weights([good, bad])
    assert sum(shares) == pytest.approx(1)
    assert shares[0] > 0.9
    with pytest.raises(InputError, match="other slices or classes"):
        combined([good, some(seed=1)])


@pytest.mark.parametrize("threshold", [1.1, -0.5, "0.5", True, float("nan")])
def test_thresholds_that_are_none_are_refused(threshold):
    with pytest.raises(InputError, match="give a number from 0 to 1"):
        require_threshold(threshold, ("a", "b"))


def test_a_threshold_decides_and_is_chosen_or_fixed():
    chances = np.array([[0.7, 0.3], [0.4, 0.6], [0.65, 0.35]])
    assert decide(chances).tolist() == [0, 1, 0]
    assert decide(chances, 0.35).tolist() == [0, 1, 1]
    two = Predictions(np.log(chances), np.array([0, 1, 1]), ("a", "b"))
    assert decision_threshold(two) == choose_threshold(two) == pytest.approx(0.325)
    assert decision_threshold(two, fixed=0.9) == 0.9
    three = Predictions(np.zeros((3, 3)), np.arange(3), ("a", "b", "c"))
    assert decision_threshold(three) is None
    with pytest.raises(InputError, match="for two classes; there are 3"):
        decision_threshold(three, fixed=0.5)


def test_frames_of_one_file_are_slices_of_their_own(tmp_path):
    """Of a cross-validation each is in one fold; without their frames they would be one slice."""
    file = {"image": "scan.dcm", "group": "p"}
    folds = [
        Predictions.of_items(
            np.array([[float(frame), 0.0] for frame in frames]), np.zeros(len(frames), np.int64),
            ("a", "b"), [file | {"frame": frame} for frame in frames],
        )
        for frames in ((10, 2), (1,))
    ]  # fmt: skip
    whole = joined(folds)
    assert whole.places == (("scan.dcm", 1), ("scan.dcm", 2), ("scan.dcm", 10))
    assert whole.logits[:, 0].tolist() == [1, 2, 10]
    again, _ = Predictions.load(whole.save(tmp_path / "said.json"))
    assert again.places == whole.places
    assert again.only(np.array([2])).frames == (10,)
    with pytest.raises(InputError, match="not of the folds of one"):
        joined([folds[0], folds[0]])
    with pytest.raises(InputError, match="other slices"):
        combined([folds[0], folds[0].only(np.array([1, 0]))])
