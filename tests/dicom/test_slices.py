import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from dicom.generator import Grid, classic, enhanced, header, put_pixels, save
from monai_tumor.dicom import Reason, RefusalError
from monai_tumor.dicom.slices import Recipe, read_slice, windowed
from monai_tumor.errors import DicomError


def one(tmp_path, stored=None, bits=16, signed=False, **tags):
    """A 2 x 3 slice with stored values 0, 10, ..., 50."""
    ds = header(Grid(shape=(2, 3)), **tags)
    put_pixels(ds, np.arange(6).reshape(2, 3) * 10 if stored is None else stored, bits, signed)
    return save(ds, tmp_path / "x.dcm")


def refusal(path, *args, **how):
    with pytest.raises(RefusalError) as refused:
        read_slice(path, *args, **how)
    return refused.value.reason


def test_rows_come_first_and_the_range_is_used_without_a_window(tmp_path):
    picture = read_slice(one(tmp_path))
    assert picture.pixels.dtype == np.float32
    assert picture.pixels.tolist() == np.float32([[0, 0.2, 0.4], [0.6, 0.8, 1]]).tolist()
    assert picture.window is None


def test_named_window_in_hounsfield_units(tmp_path):
    # Brain 40/80 is HU 0 to 80; the intercept turns stored 1024 into HU 0.
    path = one(
        tmp_path, [[0, 1024, 1044], [1064, 1104, 3000]], RescaleIntercept=-1024, Modality="CT"
    )
    shown = read_slice(path, Recipe(window="brain")).pixels
    assert shown == pytest.approx(np.array([[0, 0, 20 / 79], [40 / 79, 1, 1]]), abs=1e-6)


def test_the_files_own_window(tmp_path):
    picture = read_slice(one(tmp_path, WindowCenter=[25, 99], WindowWidth=[51, 9]))
    assert picture.window == (25.0, 51.0)
    # PS3.3 C.11.2.1.2.1: ((x - 24.5) / 50 + 0.5)
    assert picture.pixels[0] == pytest.approx([0.01, 0.21, 0.41])


@pytest.mark.parametrize(
    ("function", "value"), [("LINEAR", 0.5 + 0.5 / 99), ("LINEAR_EXACT", 0.5), ("SIGMOID", 0.5)]
)
def test_window_functions_at_the_centre(function, value):
    assert windowed(np.array([40.0]), (40.0, 100.0), function) == pytest.approx([value])


def test_monochrome1_is_inverted_last(tmp_path):
    shown = read_slice(one(tmp_path, PhotometricInterpretation="MONOCHROME1")).pixels
    assert shown[0] == pytest.approx([1, 0.8, 0.6])


def test_signed_and_missing_slope(tmp_path):
    shown = read_slice(one(tmp_path, [[-100, 0, 100], [-50, 50, 25]], signed=True)).pixels
    assert shown[0] == pytest.approx([0, 0.5, 1])


def test_padding_does_not_set_the_range(tmp_path):
    path = one(tmp_path, [[-2000, 0, 100], [50, 25, 75]], signed=True, PixelPaddingValue=0)
    ds_range = read_slice(path).pixels
    assert ds_range.min() == 0.0


def test_voi_table(tmp_path):
    table = Dataset()
    table.LUTDescriptor = [6, 0, 16]
    table.LUTData = np.array([0, 65535, 0, 65535, 0, 65535], "<u2").tobytes()
    path = one(tmp_path, [[0, 1, 2], [3, 4, 5]], VOILUTSequence=DicomSequence([table]))
    assert read_slice(path).pixels.tolist() == [[0, 1, 0], [1, 0, 1]]


def test_modality_table(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [6, 0, 16], "US"
    table.LUTData = np.array([0, 1, 4, 9, 16, 25], "<u2").tobytes()
    path = one(tmp_path, [[0, 1, 2], [3, 4, 5]], ModalityLUTSequence=DicomSequence([table]))
    assert read_slice(path).pixels[1] == pytest.approx([9 / 25, 16 / 25, 1])


def test_colour_becomes_grey(tmp_path):
    ds = header(Grid(shape=(1, 4)), PhotometricInterpretation="RGB", SamplesPerPixel=3)
    ds.PlanarConfiguration = 0
    put_pixels(ds, [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], 8)
    shown = read_slice(save(ds, tmp_path / "x.dcm")).pixels
    assert shown[0] == pytest.approx([0.299, 0.587, 0.114, 1], abs=1e-6)


@pytest.mark.parametrize("name", ["examples_palette.dcm", "examples_ybr_color.dcm"])
def test_palette_and_ybr(name):
    path = get_testdata_file(name)
    frame = 1 if "ybr" in name else None
    shown = read_slice(path, Recipe(allow_secondary=True), frame=frame).pixels
    assert shown.ndim == 2
    assert 0 <= shown.min() < shown.max() <= 1


def test_a_frame_must_be_chosen(tmp_path):
    grid = Grid(count=3)
    path = save(enhanced(grid, [(k, {}) for k in range(3)]), tmp_path / "x.dcm")
    assert refusal(path) is Reason.CHOOSE_FRAME
    assert refusal(path, frame=4) is Reason.CHOOSE_FRAME
    assert refusal(path, frame=0) is Reason.CHOOSE_FRAME
    flat = save(classic(grid)[1], tmp_path / "y.dcm")
    second = read_slice(path, frame=2)
    assert np.array_equal(second.pixels, read_slice(flat).pixels)
    assert second.spacing == (2.0, 1.5)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, Reason.SECONDARY_CAPTURE),
        ({"BurnedInAnnotation": "YES"}, Reason.BURNED_IN),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, Reason.NOT_AN_IMAGE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2"}, Reason.NOT_AN_IMAGE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, Reason.NOT_AN_IMAGE),
        ({"RescaleSlope": 0}, Reason.BAD_RESCALE),
    ],
)
def test_refusals(tmp_path, tags, reason):
    path = one(tmp_path, **tags)
    assert refusal(path) is reason
    if reason in (Reason.SECONDARY_CAPTURE, Reason.BURNED_IN):
        assert read_slice(path, Recipe(allow_secondary=True)).pixels.shape == (2, 3)


def test_no_file_no_dicom_no_such_window(tmp_path):
    assert refusal(tmp_path / "none") is Reason.NOT_FOUND
    (tmp_path / "text").write_text("hello, this is text")
    assert refusal(tmp_path / "text") is Reason.NOT_DICOM
    with pytest.raises(DicomError, match="Unknown window 'skin'; choose of file, range, lung"):
        read_slice(one(tmp_path), Recipe(window="skin"))


def test_the_recipe_survives_json(tmp_path):
    recipe = Recipe(window="lung", allow_secondary=True)
    assert Recipe(**recipe.as_dict()) == recipe
    picture = read_slice(one(tmp_path), recipe)
    assert picture.as_dict()["window"] == [-600.0, 1500.0]
    assert str(picture) == "2 x 3 slice, window -600/1500"
