"""Charts, by what their pixels show and against a golden picture.

The golden picture was looked at. Where the drawing changes on purpose, look at the new one, which
the failing test names, and copy it over the old.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_tumor.errors import InputError
from monai_tumor.report.charts import (
    PALETTE,
    Curve,
    _short,
    _ticks,
    bar_chart,
    beside,
    line_chart,
    picture_sheet,
    text_width,
    titled,
)

GOLDEN = Path(__file__).parent / "golden" / "charts.png"


def extent(picture: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the pixels of a colour below the legend."""
    rows, columns = np.nonzero((np.asarray(picture)[70:] == colour).all(axis=-1))
    return columns.min(), rows.min() + 70, columns.max(), rows.max() + 70


def bars() -> Image.Image:
    series = {
        "train": {"glioma": 1321, "no tumour": 1595},
        "test": {"glioma": 300, "no tumour": 405, "a class of the test side alone": 20},
    }
    return bar_chart(series, title="Slices of each class")


def lines() -> Image.Image:
    x = np.arange(1.0, 51)
    fall = Curve("training", x, 1.4 * np.exp(-x / 12) + 0.1)
    rise = Curve("validation", x, 1.4 * np.exp(-x / 8) + 0.3 + 0.002 * x)
    return line_chart([fall, rise], title="Loss", across="epoch")


def test_bars_are_as_long_as_their_numbers():
    picture = bar_chart({"one": {"a": 2.0, "b": 8.0}}, title="t")
    mask = (np.asarray(picture)[70:] == PALETTE[0]).all(axis=-1)
    lengths = [row.sum() for row in mask if row.any()]
    assert sorted({*lengths})[-1] == pytest.approx(4 * sorted({*lengths})[0], abs=6)


def test_a_full_bar_can_be_longer_than_the_longest():
    half = bar_chart({"one": {"a": 0.5}}, title="t", most=1.0, digits=2)
    full = bar_chart({"one": {"a": 0.5}}, title="t")
    wide = [np.ptp(extent(picture, PALETTE[0])[::2]) for picture in (half, full)]
    assert wide[1] == pytest.approx(2 * wide[0], abs=4)


def test_curves_stay_within_their_axes_and_rise_upwards():
    x = np.array([0.0, 1.0, 2.0])
    rising = Curve("a", x, np.array([0.0, 0.5, 1.0]))
    outside = Curve("b", x, np.array([np.nan, 7.0, 7.0]))
    picture = line_chart([rising, outside], title="t", across="x", limits=(0.0, 1.0))
    pixels = np.asarray(picture)
    left, top, right, bottom = extent(picture, PALETTE[0])
    columns = (
        (pixels[:, left + 4] == PALETTE[0]).all(-1),
        (pixels[:, right - 4] == PALETTE[0]).all(-1),
    )
    assert np.nonzero(columns[0])[0].mean() > np.nonzero(columns[1])[0].mean()  # rows run down
    assert 76 < top < bottom < 520 - 40


def test_a_single_point_is_seen():
    one = Curve("a", np.array([1.0]), np.array([0.3]))
    assert extent(line_chart([one], title="t", across="epoch"), PALETTE[0])


def test_a_curve_without_a_finite_point_is_left_out():
    one = Curve("a", np.array([1.0, 2.0]), np.array([0.3, 0.5]))
    lost = Curve("b", np.array([1.0, 90.0]), np.array([np.nan, np.inf]))
    alone = line_chart([one], title="t", across="epoch")
    assert line_chart([one, lost], title="t", across="epoch").tobytes() == alone.tobytes()
    with pytest.raises(InputError, match="No curve of 't' has a finite point"):
        line_chart([lost], title="t", across="epoch")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 50, [0, 10, 20, 30, 40, 50]),
        (0.0021, 0.0094, [0.002, 0.004, 0.006, 0.008, 0.01]),
        (3, 3, [3, 4]),
        (0, 0, [0, 0.2]),
    ],
)
def test_ticks_are_round_and_hold_the_ends(low, high, ticks):
    found = _ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert found[: len(ticks)] == pytest.approx(ticks[: len(found)])


def test_long_names_are_cut_in_the_middle():
    name = "patient_00017_series_3_slice_0042"
    cut = _short(name, 160)
    assert text_width(cut) <= 160
    assert cut.startswith("pati")
    assert cut.endswith("42")
    assert _short("glioma", 160) == "glioma"


def golden() -> Image.Image:
    grey = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    pictures = [(Image.fromarray(np.roll(grey, 9 * n, 0)), f"class {n % 3}") for n in range(6)]
    sheet = picture_sheet(pictures, title="Samples of each class", columns=3)
    note = "LEAKING SPLIT, results are too good: 62.3% of 1311 test slices have a twin."
    rows = [bars(), lines(), beside([sheet, titled(Image.fromarray(grey), "a map")], note)]
    made = Image.new("RGB", (900, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        made.paste(row, (0, top))
        top += row.height
    return made


def test_drawn_as_the_golden_picture(tmp_path):
    made = golden()
    made.save(tmp_path / "charts.png")
    with Image.open(GOLDEN) as opened:
        wanted = np.asarray(opened.convert("RGB"), int)
    assert made.size == wanted.shape[1::-1], tmp_path / "charts.png"
    far = np.abs(np.asarray(made, int) - wanted).max(axis=-1) > 40
    assert far.mean() < 0.002, (
        f"{100 * far.mean():.2f}% of pixels differ: {tmp_path / 'charts.png'}"
    )
