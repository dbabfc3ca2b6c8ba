from itertools import product
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monai_tumor.metrics.statistics import bootstrap_mean, compare_paired, holm

scores = st.lists(st.floats(0, 1), min_size=2, max_size=20)


def test_interval_of_the_mean_against_all_resamples():
    values = [0.1, 0.4, 0.5, 0.9]
    exact = [np.mean(chosen) for chosen in product(values, repeat=4)]
    low, high = np.quantile(exact, [0.025, 0.975])
    found = bootstrap_mean(values)
    assert found.mean == pytest.approx(0.475)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.026)  # one step of the mean
    assert found.n == 4


@given(scores)
@settings(max_examples=20, deadline=None)
@example([0.6602444925360752] * 2)
def test_interval_holds_the_mean_and_the_seed_decides(values):
    found = bootstrap_mean(values, seed=3)
    assert found == bootstrap_mean(values, seed=3)
    slack = 1e-9
    assert min(values) - slack <= found.low <= found.mean + slack
    assert found.mean - slack <= found.high <= max(values) + slack


def test_another_seed_gives_another_interval():
    values = np.linspace(0, 1, 9) ** 2
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_few_constant_and_undefined_values():
    assert bootstrap_mean([]).as_dict() == {"mean": None, "low": None, "high": None, "n": 0}
    assert bootstrap_mean([0.5]).as_dict() == {"mean": 0.5, "low": None, "high": None, "n": 1}
    assert bootstrap_mean([0.66] * 2).low == bootstrap_mean([0.66] * 2).high == 0.66
    assert bootstrap_mean([2.0] * 5).as_dict() == {"mean": 2, "low": 2, "high": 2, "n": 5}
    assert bootstrap_mean([1.0, nan, 3.0]).mean == 2
    assert bootstrap_mean([1.0, nan, 3.0]).n == 2


def test_paired_worked_out_by_hand():
    # Ranks 1 to 6, only the smallest difference negative: P(W <= 1) = 2/64, two-sided 4/64.
    differences = [-0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    (found,) = compare_paired([[0.5] * 6], [[0.5 + d for d in differences]])
    assert found.p == pytest.approx(4 / 64)
    assert found.p_holm == found.p
    assert found.median == pytest.approx(0.035)
    assert -0.01 <= found.low <= 0.035 <= found.high <= 0.06
    assert (found.n, found.n_differ) == (6, 6)


def test_pairs_without_difference():
    (same,) = compare_paired([[0.5, 0.7]], [[0.5, 0.7]])
    assert (same.p, same.median, same.low, same.high, same.n_differ) == (1, 0, 0, 0, 0)
    # Those without difference are left out of the test: five of one sign, 2/32.
    (found,) = compare_paired([[0.5] * 7], [[0.5, 0.5, 0.51, 0.52, 0.53, 0.54, 0.55]])
    assert found.p == pytest.approx(2 / 32)
    assert (found.n, found.n_differ) == (7, 5)
    # Nor are those that differ by rounding alone.
    (found,) = compare_paired([[0.3, 0.1 + 0.2]], [[0.1 + 0.2, 0.3]])
    assert (found.p, found.n_differ) == (1, 0)
    (single,) = compare_paired([[0.5]], [[0.6]])
    assert single.p == 1
    assert isnan(single.low)
    assert single.as_dict()["low"] is None


@given(scores)
@settings(max_examples=20, deadline=None)
def test_paired_changes_sign_with_the_order(values):
    other = values[1:] + values[:1]
    (there,), (back,) = compare_paired([values], [other]), compare_paired([other], [values])
    assert there.median == pytest.approx(-back.median)
    assert there.p == pytest.approx(back.p)


def test_holm_by_hand():
    # Sorted .01, .02, .03, .04 times 4, 3, 2, 1, never falling.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_is_applied_over_the_members():
    first, second = [[0.0] * 6] * 3, [[1, 2, 3, 4, 5, 6], [-1, 2, 3, 4, 5, 6], [0.0] * 6]
    assert [paired.p_holm for paired in compare_paired(first, second)] == pytest.approx(
        [3 * 2 / 64, 2 * 4 / 64, 1]
    )


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([[1.0]], [[1.0, 2.0]], "Paired scores need one shape"),
        ([[]], [[]], "Paired scores need one shape"),
        ([[nan]], [[1.0]], "Paired scores must be finite"),
    ],
)
def test_pairs_that_are_none(first, second, message):
    with pytest.raises(ValueError, match=message):
        compare_paired(first, second)
