import struct
import zlib

import numpy as np
import pytest
from dicom.generator import Grid, header, put_pixels
from dicom.generator import save as save_dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from monai_tumor.data.slices.pictures import decode, grey, read_picture
from monai_tumor.dicom import Recipe
from monai_tumor.errors import DicomError, ImageError

RAMP = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50  # 0 to 250


def written(tmp_path, image, name="x.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_grey_and_rgb_are_channel_first_and_divided_by_255(tmp_path):
    path = written(tmp_path, Image.fromarray(RAMP))
    assert read_picture(path).shape == (1, 2, 3)
    assert read_picture(path)[0].tolist() == (RAMP / np.float32(255)).tolist()
    assert read_picture(path, channels=3).shape == (3, 2, 3)
    colour = np.stack([RAMP, RAMP // 2, RAMP // 5], axis=-1)
    rgb = written(tmp_path, Image.fromarray(colour), "rgb.png")
    assert np.array_equal(read_picture(rgb, channels=3)[1] * 255, RAMP // 2)
    # BT.601 by hand, of (250, 125, 50)
    assert read_picture(rgb)[0, 1, 2] * 255 == pytest.approx(0.299 * 250 + 0.587 * 125 + 0.114 * 50)


@pytest.mark.parametrize("name", ["x.bmp", "x.tif", "x.png"])
def test_formats_without_loss(tmp_path, name):
    assert np.array_equal(decode(written(tmp_path, Image.fromarray(RAMP), name)), RAMP)


def test_a_grey_picture_is_the_same_however_it_is_saved(tmp_path):
    image = Image.fromarray(RAMP)
    palette = image.convert("P")
    saved = [
        written(tmp_path, image.convert(mode), f"{mode}.png") for mode in ("RGB", "LA", "RGBA")
    ]
    saved += [written(tmp_path, palette, "P.png"), written(tmp_path, image.convert("RGB"), "x.bmp")]
    for path in saved:
        assert np.array_equal(decode(path), RAMP), path.name


def test_palette_indices_are_looked_up(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    image.putpalette([200, 200, 200, 0, 0, 0, 255, 0, 0])  # index 0 is bright
    stored = decode(written(tmp_path, image))
    assert stored[0].tolist() == [[200] * 3, [0] * 3, [255, 0, 0]]
    assert grey(stored)[0, 0] == pytest.approx(200 / 255)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_is_black(tmp_path, mode):
    image = Image.new(mode, (2, 1), (200, 255) if mode == "LA" else (200, 200, 200, 255))
    image.putpixel((1, 0), (200, 0) if mode == "LA" else (200, 200, 200, 0))
    assert decode(written(tmp_path, image)).tolist() == [[200, 0]]


def test_transparent_palette_entry(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([200, 200, 200, 100, 100, 100])
    path = written(tmp_path, image, transparency=0)
    assert decode(path).tolist() == [[0, 100]]


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path, name):
    values = np.array([[1000, 2000], [3000, 5000]], np.uint16)
    pixels = read_picture(written(tmp_path, Image.fromarray(values), name))
    assert pixels[0] == pytest.approx(np.array([[0, 0.25], [0.5, 1]]))


def test_floats_and_what_is_not_finite(tmp_path):
    good = Image.fromarray(np.array([[-1.0, 0, 3]], np.float32))
    assert decode(written(tmp_path, good, "g.tif")).tolist() == [[0, 0.25, 1]]
    bad = Image.fromarray(np.array([[np.nan, 0]], np.float32))
    with pytest.raises(ImageError, match="not finite"):
        decode(written(tmp_path, bad, "b.tif"))


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tif"])
def test_a_cameras_rotation_is_undone(tmp_path, name):
    packed = {"compression": "tiff_lzw"} if name == "x.tif" else {}
    exif = Image.Exif()
    exif[0x0112] = 6  # the top row is shown at the right
    block = np.kron(RAMP, np.ones((16, 16), np.uint8))
    path = written(tmp_path, Image.fromarray(block), name, exif=exif, **packed)
    shown = decode(path)
    assert shown.shape == (48, 32)
    expected = np.rot90(block, -1)
    assert np.abs(shown.astype(int) - expected).mean() < 3


def test_a_turned_tiff_that_pillow_gets_wrong(tmp_path):
    path = written(tmp_path, Image.fromarray(RAMP), "x.tif", tiffinfo={0x0112: 6})
    with pytest.raises(ImageError, match="Save it upright"):
        decode(path)


def test_cmyk_and_one_bit(tmp_path):
    path = written(tmp_path, Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "k.jpg", quality=100)
    assert decode(path).max() <= 2
    assert decode(written(tmp_path, Image.new("1", (2, 2), 1))).tolist() == [[255] * 2] * 2


def bomb(width, height):
    """A PNG that claims a size and holds no pixels to speak of."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    parts = chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("side", [9000, 12_000, 100_000])
def test_bombs_are_not_decoded(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side, side))
    with pytest.raises(ImageError, match=r"bomb\.png claims"):
        decode(path)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0 short"])
def test_what_is_no_picture(tmp_path, content):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"^bad\.jpg cannot be read as JPEG, PNG, TIFF or BMP"):
        decode(path)


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "bmp"])
def test_cut_short(tmp_path, ending):
    whole = written(tmp_path, Image.fromarray(np.tile(RAMP, (40, 40))), f"w.{ending}")
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"w\."):
        decode(whole)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from(["PNG", "JPEG", "TIFF", "BMP"]))
def test_a_wrong_byte_gives_a_picture_or_one_line(tmp_path_factory, place, value, kind):
    path = tmp_path_factory.mktemp("fuzz") / f"f.{kind.lower()}"
    Image.fromarray(RAMP).save(path, kind)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    said = ""
    try:
        assert decode(path).ndim in (2, 3)
    except ImageError as error:
        said = str(error)
    assert "\n" not in said
    assert str(path.parent) not in said


def test_other_decoders_do_not_run(tmp_path):
    path = written(tmp_path, Image.fromarray(RAMP), "x.gif")
    path.rename(tmp_path / "x.png")
    with pytest.raises(ImageError, match="cannot be read"):
        decode(tmp_path / "x.png")


def test_several_pages(tmp_path):
    image = Image.fromarray(RAMP)
    path = written(tmp_path, image, "x.tif", save_all=True, append_images=[image])
    with pytest.raises(ImageError, match="holds 2 pictures"):
        decode(path)


def test_wrong_arguments(tmp_path):
    path = written(tmp_path, Image.fromarray(RAMP))
    with pytest.raises(ImageError, match="1 \\(grey\\) or 3"):
        read_picture(path, channels=4)
    with pytest.raises(ImageError, match="no DICOM"):
        decode(path, frame=1)
    with pytest.raises(ImageError, match="no file"):
        decode(tmp_path / "none.png")


def test_dicom_by_ending_or_preamble(tmp_path):
    ds = header(Grid(shape=(2, 3)))
    put_pixels(ds, np.arange(6).reshape(2, 3) * 10)
    for name in ("x.dcm", "IM0001"):
        path = save_dicom(ds, tmp_path / name)
        assert read_picture(path)[0].ravel() == pytest.approx(np.arange(6) / 5)
        assert read_picture(path, recipe=Recipe(window="range"), channels=3).shape == (3, 2, 3)
    (tmp_path / "bad.dcm").write_bytes(b"no")
    with pytest.raises(DicomError):
        decode(tmp_path / "bad.dcm")
