from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from monai_tumor.imaging.drawing import COLOURS, RESEARCH_USE, draw_panel, draw_slice, legend, text
from monai_tumor.imaging.orientation import Plane
from monai_tumor.imaging.scene import Slice
from monai_tumor.labels import REGIONS, Region

ET, TC, WT = (np.array(COLOURS[r]) for r in (Region.ET, Region.TC, Region.WT))


def a_slice(rows=40, columns=50, pixel_mm=(1.0, 1.0), plane=Plane.AXIAL, level=90):
    grey = np.full((rows, columns), level, np.uint8)
    return grey, Slice(
        grey, np.zeros((3, rows, columns), bool), pixel_mm, plane, "Axial, z = 1.0 mm"
    )


def near(picture, colour, tolerance=25):
    return np.abs(np.asarray(picture).astype(int) - colour).max(-1) <= tolerance


def luminance(colour):
    c = np.array(colour) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_and_their_black_rim_show_on_any_grey():
    for colour in COLOURS.values():
        assert contrast(colour, (0, 0, 0)) > 5
        for grey in range(256):
            on = (grey,) * 3
            assert max(contrast(colour, on), contrast((0, 0, 0), on)) > 2.4
    for one, other in combinations(COLOURS.values(), 2):
        assert np.linalg.norm(np.subtract(one, other)) > 100


def test_proportions_follow_the_size_of_a_pixel():
    _, view = a_slice(rows=20, columns=50, pixel_mm=(1.0, 5.0))
    assert draw_slice(view, pixels_per_mm=2).size == (100, 200)
    rows, columns = np.mgrid[:20, :50]
    ball = np.hypot((rows + 0.5) * 5 - 50, columns + 0.5 - 25) <= 20  # mm
    view.regions[REGIONS.index(Region.ET)] = ball
    ys, xs = np.nonzero(near(draw_slice(view, pixels_per_mm=4), ET, 60))
    assert np.ptp(xs) / 4 == pytest.approx(40, abs=2)
    assert np.ptp(ys) / 4 == pytest.approx(40, abs=5)
    assert np.mean([xs.min(), xs.max()]) == pytest.approx(100, abs=2)
    assert np.mean([ys.min(), ys.max()]) == pytest.approx(200, abs=2)


def test_lines_of_coinciding_regions_lie_beside_each_other_at_the_edge():
    _, view = a_slice(40, 40)
    view.regions[:, 10:30, 10:30] = True
    picture = np.asarray(draw_slice(view, pixels_per_mm=10)).astype(int)
    row = picture[200]  # the edge is between columns 99 and 100, and between 299 and 300
    for edge, inward in ((100, 1), (300, -1)):
        at = edge if inward > 0 else edge - 1
        assert np.abs(row[at] - ET).max() < 30
        assert np.abs(row[at - inward] - TC).max() < 30
        assert np.abs(row[at - 2 * inward] - WT).max() < 60
        assert row[at + inward][2] < 45  # the rim takes half of the grey's blue
        assert row[at + 5 * inward].tolist() == [90, 90, 90]
        assert row[at - 5 * inward].tolist() == [90, 90, 90]


def test_a_hole_is_lined_on_the_side_of_its_region():
    _, view = a_slice(40, 40)
    view.regions[REGIONS.index(Region.ET), 5:35, 5:35] = True
    view.regions[:, 15:25, 15:25] = False
    row = np.asarray(draw_slice(view, pixels_per_mm=10)).astype(int)[200]
    assert np.abs(row[149] - ET).max() < 30  # the hole begins at column 150
    assert np.abs(row[150] - ET).max() > 60


def test_one_voxel_can_be_seen():
    _, view = a_slice()
    view.regions[:, 20, 20] = True
    picture = draw_slice(view, pixels_per_mm=2)
    assert np.asarray(picture).astype(int).std(-1).max() > 30


def test_without_regions_the_slice_is_grey():
    grey, view = a_slice()
    bare = Slice(grey, None, view.pixel_mm, view.plane, view.caption)
    assert (np.asarray(draw_slice(bare, pixels_per_mm=2)) == 90).all()


def ink(panel, box):
    return int((np.asarray(panel.crop(box).convert("L")) > 128).sum())


def test_a_panel_has_marks_on_four_sides_and_a_bar_of_two_centimetres():
    _, view = a_slice(100, 100, level=0)
    panel = draw_panel(view, pixels_per_mm=2, room=(200, 200))
    assert panel.size == (248, 280)
    for box in [(0, 120, 24, 170), (224, 120, 248, 170), (110, 24, 140, 46), (110, 246, 140, 272)]:
        assert ink(panel, box) > 10
    assert ink(panel, (30, 60, 218, 240)) == 0  # nothing is written on the slice
    bar = np.asarray(panel.convert("L"))[268]
    assert (bar == 255).sum() == pytest.approx(40, abs=1)


@pytest.mark.parametrize(
    ("pixels_per_mm", "length"), [(2.0, 40), (10.0, 50), (40.0, 40), (100.0, 0), (0.1, 0)]
)
def test_the_scale_bar_is_one_that_fits(pixels_per_mm, length):
    _, view = a_slice(2, 2, level=0)
    panel = draw_panel(view, pixels_per_mm=pixels_per_mm, room=(200, 200))
    bar = np.asarray(panel.convert("L"))[268, 150:]
    assert (bar == 255).sum() == pytest.approx(length, abs=1)


def test_the_legend_names_every_contour_and_the_use():
    wide, narrow = legend(800), legend(500)
    assert wide.size == (800, 28)
    assert narrow.size == (500, 52)
    for strip in (wide, narrow):
        assert all(near(strip, colour, 0).sum() > 40 for colour in (ET, TC, WT))
    end = text(None, (0, 0), RESEARCH_USE)
    assert ink(wide, (800 - end, 0, 800, 28)) == pytest.approx(
        ink(narrow, (0, 28, 500, 52)), abs=40
    )


def test_text_reads_on_white():
    page = Image.new("RGB", (60, 30), (255, 255, 255))
    text(page, (5, 5), "2 cm")
    assert np.asarray(page).min() < 40  # its black rim
