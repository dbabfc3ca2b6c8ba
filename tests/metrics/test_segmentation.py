import re

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from monai.metrics import compute_hausdorff_distance
from monai.metrics.utils import get_edge_surface_distance

from monai_tumor.errors import InputError
from monai_tumor.labels import REGIONS, Region
from monai_tumor.metrics.segmentation import LesionRule, dice, hd95, score_case

ISOTROPIC = (1.0, 1.0, 1.0)
SHAPE = (26, 22, 24)


def boxes(seed, count=5):
    """Two masks of a few random boxes each, most of them common to both, some one voxel apart."""
    rng = np.random.default_rng(seed)
    first, second = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    for _ in range(count):
        low = [int(rng.integers(1, size - 7)) for size in SHAPE]
        size = [int(rng.integers(1, 7)) for _ in SHAPE]
        move = int(rng.integers(0, 3))
        kind = int(rng.integers(0, 6))
        if kind != 0:
            first[tuple(slice(a, a + b) for a, b in zip(low, size, strict=True))] = True
        if kind != 1:
            low[move] += 1
            second[tuple(slice(a, a + b) for a, b in zip(low, size, strict=True))] = True
    return first, second


# Made once with the libraries that the official evaluation calls (surface-distance 0.1,
# connected-components-3d 4.1.1) and its rule written out anew; masks from `boxes`.
# seed, spacing, dilation, least volume: Dice, HD95, lesion Dice, lesion HD95, lesions, missed, fp
OFFICIAL = [
    (0, (1.0, 1.0, 1.0), 3, 50.0, 0.500000, 8.544004, 0.529412, 8.544004, 1, 0, 0),
    (0, (1.0, 1.0, 1.0), 1, 2.0, 0.500000, 8.544004, 0.264706, 4.772002, 2, 0, 0),
    (1, (1.0, 1.0, 1.0), 3, 50.0, 0.569892, 2.236068, 0.569892, 2.236068, 1, 0, 0),
    (1, (1.0, 1.0, 1.0), 1, 2.0, 0.569892, 2.236068, 0.562963, 1.666667, 3, 0, 0),
    (2, (1.0, 1.0, 1.0), 3, 50.0, 0.414986, 8.000000, 0.414986, 8.000000, 1, 0, 0),
    (2, (1.0, 1.0, 1.0), 1, 2.0, 0.414986, 8.000000, 0.200000, 280.750000, 3, 2, 1),
    (3, (0.5, 1.0, 2.5), 3, 50.0, 0.425197, 6.500000, 0.406780, 6.500000, 1, 0, 0),
    (3, (0.5, 1.0, 2.5), 1, 2.0, 0.425197, 6.500000, 0.433333, 96.096291, 4, 1, 0),
    (4, (0.9, 0.9, 3.0), 3, 50.0, 0.597015, 27.014996, 0.597015, 27.014996, 1, 0, 0),
    (4, (0.9, 0.9, 3.0), 1, 2.0, 0.597015, 27.014996, 0.266667, 250.333333, 2, 1, 1),
    (5, (2.0, 1.0, 1.0), 3, 50.0, 0.344828, 12.041595, 0.147059, 282.177051, 2, 1, 2),
    (5, (2.0, 1.0, 1.0), 1, 2.0, 0.344828, 12.041595, 0.147059, 282.177051, 2, 1, 2),
    (6, (1.0, 1.0, 1.0), 3, 50.0, 0.707031, 5.196152, 0.712500, 3.500000, 2, 0, 0),
    (6, (1.0, 1.0, 1.0), 1, 2.0, 0.707031, 5.196152, 0.714899, 2.666667, 3, 0, 0),
    (7, (1.2, 0.8, 1.0), 3, 50.0, 0.542510, 9.838699, 0.800000, 0.800000, 1, 0, 0),
    (7, (1.2, 0.8, 1.0), 1, 2.0, 0.542510, 9.838699, 0.460000, 150.080000, 3, 0, 2),
]


def one(prediction, truth, spacing=ISOTROPIC, rule=None):
    scores = score_case(prediction[None], truth[None], spacing, regions=[Region.WT], rule=rule)
    return scores.regions[Region.WT]


def box(low, high, shape=(40, 30, 30)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


@pytest.mark.parametrize("row", OFFICIAL)
def test_agrees_with_the_official_evaluation(row):
    seed, spacing, dilation, volume, *expected = row
    scores = one(*boxes(seed), spacing, LesionRule(dilation, volume))
    found = [
        scores.dice,
        scores.hd95_mm,
        scores.lesion_dice,
        scores.lesion_hd95_mm,
        scores.lesions,
        scores.lesions_missed,
        scores.false_positives,
    ]
    assert found == pytest.approx(expected, abs=1e-6)


def test_two_boxes_worked_out_by_hand():
    # 10x10x10 voxels of 1x2x3 mm against the same box two voxels further along X: 800 common.
    truth, prediction = box((5, 5, 5), (15, 15, 15)), box((7, 5, 5), (17, 15, 15))
    prediction[16] = False  # one layer fewer: 900 voxels
    scores = one(prediction, truth, (1.0, 2.0, 3.0))
    assert scores.dice == pytest.approx(2 * 800 / 1900)
    assert scores.sensitivity == pytest.approx(0.8)
    assert scores.precision == pytest.approx(800 / 900)
    assert (scores.truth_ml, scores.prediction_ml) == pytest.approx((6.0, 5.4))
    assert scores.volume_error_ml == pytest.approx(-0.6)
    assert scores.volume_error_relative == pytest.approx(-0.1)
    # The far end face is 2 mm off and has more than 5% of the surface.
    assert scores.hd95_mm == pytest.approx(2.0)
    assert (scores.lesions, scores.lesions_missed, scores.false_positives) == (1, 0, 0)
    assert scores.lesion_dice == pytest.approx(scores.dice)


EMPTY = {"dice": 0, "hd95_mm": 374, "sensitivity": 0, "precision": 0}


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        (
            False,
            False,
            {
                "dice": 1,
                "hd95_mm": 0,
                "lesion_dice": 1,
                "lesion_hd95_mm": 0,
                "sensitivity": 1,
                "precision": 1,
                "volume_error_ml": 0,
                "volume_error_relative": 0,
                "lesions": 0,
                "false_positives": 0,
            },
        ),
        (
            True,
            False,
            EMPTY
            | {"lesion_dice": 0, "lesion_hd95_mm": 374, "volume_error_ml": 0.064}
            | {"volume_error_relative": None, "lesions": 0, "false_positives": 1},
        ),
        (
            False,
            True,
            EMPTY
            | {"lesion_dice": 0, "lesion_hd95_mm": 374, "volume_error_ml": -0.064}
            | {"volume_error_relative": -1, "lesions": 1, "lesions_missed": 1},
        ),
    ],
)
def test_empty_masks(predicted, true, expected):
    full = box((3, 3, 3), (7, 7, 7))
    found = one(full & predicted, full & true).as_dict()
    assert {name: found[name] for name in expected} == expected


def test_near_fragments_are_one_lesion_and_far_ones_are_two():
    # Dilated by 3 each, boxes with 6 voxels between them touch, with 7 they do not.
    for gap, lesions in [(6, 1), (7, 2)]:
        truth = box((2, 5, 5), (7, 10, 10)) | box((7 + gap, 5, 5), (12 + gap, 10, 10))
        scores = one(box((2, 5, 5), (7, 10, 10)), truth)
        assert scores.lesions == lesions
        # One lesion: half of it found. Two: one perfect, one missed.
        assert scores.lesion_dice == pytest.approx(2 / 3 if lesions == 1 else 0.5)
        assert scores.lesions_missed == lesions - 1
        if lesions == 2:
            assert scores.lesion_hd95_mm == pytest.approx(374 / 2)


def test_a_false_positive_counts_as_a_lesion():
    truth = box((2, 5, 5), (7, 10, 10))
    scores = one(truth | box((30, 20, 20), (31, 21, 21)), truth)
    assert scores.false_positives == 1
    assert scores.lesion_dice == pytest.approx(0.5)
    assert scores.lesion_hd95_mm == pytest.approx(187)
    assert scores.dice == pytest.approx(250 / 251)


def test_a_component_that_meets_only_the_dilation_belongs_to_the_lesion():
    truth = box((2, 5, 5), (7, 10, 10))
    scores = one(truth | box((9, 5, 5), (10, 10, 10)), truth)  # two voxels off
    assert scores.false_positives == 0
    assert scores.lesion_dice == pytest.approx(250 / 275)


def test_small_lesions_are_left_out_and_so_is_what_meets_them():
    small, large = box((30, 20, 20), (32, 25, 25)), box((2, 5, 5), (7, 10, 10))  # 50 mm3, 125 mm3
    scores = one(small | large, small | large)
    assert (scores.lesions, scores.false_positives, scores.lesion_dice) == (1, 0, 1)
    assert one(large, small | large).lesions_missed == 0
    assert one(small | large, small | large, (1.0, 1.0, 1.01)).lesions == 2  # now above 50 mm3
    scores = one(np.zeros_like(small), small)
    assert (scores.dice, scores.lesion_dice, scores.lesion_hd95_mm) == (0, 1, 0)


def corners(mask):
    """Surface corners and the half-voxel lattice, one Python loop at a time."""
    found = []
    padded = np.pad(mask, 1)
    for x, y, z in np.ndindex(*(size + 1 for size in mask.shape)):
        if 0 < padded[x : x + 2, y : y + 2, z : z + 2].sum() < 8:
            found.append((x, y, z))
    return np.array(found, float)


def lattice_distances(a, b, spacing):
    """From each surface corner of `a` to the nearest of `b`, all pairs tried."""
    steps = (corners(a)[:, None] - corners(b)[None]) * np.array(spacing)
    return np.sqrt((steps**2).sum(-1)).min(1)


@given(st.integers(0, 10**6), st.sampled_from([ISOTROPIC, (0.5, 1.0, 2.0)]))
@settings(max_examples=8, deadline=None)
def test_hd95_lies_within_the_brute_force_distances(seed, spacing):
    a, b = (mask[:9, :9, :9] for mask in boxes(seed, 9))
    assume(a.any() and b.any())
    there, back = lattice_distances(a, b, spacing), lattice_distances(b, a, spacing)
    value = hd95(a, b, spacing)
    assert np.isclose(np.concatenate([there, back]), value).any()
    assert value <= max(there.max(), back.max()) + 1e-9
    # Surface elements weigh at most ten times each other, so the area above is bounded.
    for distances in (there, back):
        assert (distances > value + 1e-6).mean() <= 0.5


# MONAI 1.6.1 passes an argument that it has deprecated to itself.
from_monai = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")


@from_monai
@pytest.mark.parametrize("spacing", [ISOTROPIC, (0.5, 1.0, 2.5)])
@pytest.mark.parametrize("seed", range(4))
def test_hd95_is_the_definition_applied_to_the_surfaces_of_monai(seed, spacing):
    a, b = boxes(seed)
    surfaces, distances, areas = get_edge_surface_distance(
        torch.from_numpy(a),
        torch.from_numpy(b),
        spacing=list(spacing),
        use_subvoxels=True,
        symmetric=True,
    )
    directed = []
    for surface, distance, area in zip(surfaces, distances, areas, strict=True):
        weights = area[surface]
        directed.append(
            min(
                limit
                for limit in distance.unique().tolist()
                if weights[distance <= limit].sum() >= 0.95 * weights.sum()
            )
        )
    assert hd95(a, b, spacing) == pytest.approx(max(directed), rel=1e-6)


@from_monai
def test_hd95_beside_other_conventions():
    # MONAI weighs border voxels alike and also takes the larger direction: near, not equal.
    for seed in (1, 3, 6):
        a, b = boxes(seed)
        monai = float(
            compute_hausdorff_distance(
                torch.from_numpy(a)[None, None],
                torch.from_numpy(b)[None, None],
                include_background=True,
                percentile=95,
            )
        )
        assert hd95(a, b, ISOTROPIC) == pytest.approx(monai, abs=1.5)
    # A plate 14 mm off: over 5% of the prediction's surface, under 5% of both surfaces pooled.
    truth = box((5, 5, 5), (17, 17, 17))
    prediction = truth | box((31, 5, 5), (32, 10, 10))
    assert hd95(prediction, truth, ISOTROPIC) == pytest.approx(14.0)
    pooled = [lattice_distances(*pair, ISOTROPIC) for pair in [(prediction, truth), (truth, truth)]]
    assert np.percentile(np.concatenate(pooled), 95) == 0


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_dice_and_hd95_do_not_depend_on_order_flips_axes_or_padding(seed):
    a, b = boxes(seed)
    spacing = (0.5, 1.0, 2.0)
    expected = dice(a, b), hd95(a, b, spacing)
    assert (dice(b, a), hd95(b, a, spacing)) == pytest.approx(expected)
    for axes in [(0,), (1, 2), (0, 1, 2)]:
        flipped = np.flip(a, axes), np.flip(b, axes)
        assert (dice(*flipped), hd95(*flipped, spacing)) == pytest.approx(expected)
    turned = a.transpose(2, 0, 1), b.transpose(2, 0, 1)
    assert (dice(*turned), hd95(*turned, (2.0, 0.5, 1.0))) == pytest.approx(expected)
    padded = (np.pad(mask, ((0, 3), (5, 1), (0, 0))) for mask in (a, b))
    assert hd95(*padded, spacing) == pytest.approx(expected[1])


@given(st.integers(0, 10**6), st.floats(0.2, 5))
@settings(max_examples=15, deadline=None)
def test_hd95_and_volumes_scale_with_spacing(seed, factor):
    a, b = boxes(seed)
    assume(a.any() and b.any())
    plain, scaled = (one(a, b, (edge,) * 3) for edge in (1.0, factor))
    assert scaled.hd95_mm == pytest.approx(plain.hd95_mm * factor)
    assert scaled.volume_error_ml == pytest.approx(plain.volume_error_ml * factor**3)
    assert scaled.dice == plain.dice


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_all_scores_of_a_perfect_prediction(seed):
    mask, _ = boxes(seed)
    scores = one(mask, mask)
    assert (scores.dice, scores.hd95_mm, scores.lesion_dice, scores.lesion_hd95_mm) == (1, 0, 1, 0)
    assert (scores.sensitivity, scores.precision, scores.volume_error_ml) == (1, 1, 0)


def test_channels_are_tc_wt_et_and_tensors_will_do():
    truth = np.zeros((3, 8, 8, 8), bool)
    truth[1, 2:6, 2:6, 2:6] = True
    prediction = torch.from_numpy(truth.copy())
    prediction[0, 2:6, 2:6, 2:6] = True
    found = score_case(prediction, truth, ISOTROPIC).as_dict()
    assert [found[region.value]["dice"] for region in REGIONS] == [0, 1, 1]
    assert found["TC"]["volume_error_relative"] is None


@pytest.mark.parametrize(
    ("prediction", "truth", "spacing", "message"),
    [
        (
            np.zeros((3, 4, 4, 4), bool),
            np.zeros((3, 4, 4, 5), bool),
            ISOTROPIC,
            "Scoring needs two masks of one shape [3 regions, X, Y, Z]; found [3, 4, 4, 4] and "
            "[3, 4, 4, 5].",
        ),
        (
            np.zeros((3, 4, 4, 4)),
            np.zeros((3, 4, 4, 4), bool),
            ISOTROPIC,
            "Scoring needs bool masks; found float64 and bool. Apply the threshold, or turn a "
            "label map into regions first.",
        ),
        (
            np.zeros((3, 4, 4, 4), bool),
            np.zeros((3, 4, 4, 4), bool),
            (1, 0, 1),
            "Scoring needs three positive voxel edges in mm; found [1.0, 0.0, 1.0].",
        ),
    ],
)
def test_errors(prediction, truth, spacing, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        score_case(prediction, truth, spacing)
