"""The table of cases: what is put in, and what must come out: right, or refused by name."""

import copy
import io
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from programs import program
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    generate_uid,
)

from dicom.generator import (
    BASE,
    CORONAL,
    CT,
    PET,
    SAGITTAL,
    Grid,
    classic,
    enhanced,
    header,
    mosaic,
    oblique,
    put_pixels,
    save,
    save_all,
)


@dataclass
class Case:
    """One case.

    `files` has, for each file that must come out, the constants its time points add; `refused` the
    reasons of the refusals beside them. `step` is the quantum of stored values.
    """

    name: str
    build: Callable[[Path], object]
    files: Sequence[Sequence[float]] = ((0.0,),)
    refused: Sequence[str] = ()
    slices: int | None = 7
    stack: str = "regular"
    step: float = 1.0
    options: dict = field(default_factory=dict)
    margin: int = 0  # voxels at the edges that a resampled grid has beyond the sources


def _put(files: Sequence[Dataset] | Dataset, **how):
    many = [files] if isinstance(files, Dataset) else list(files)
    return lambda folder: save_all(many, folder, **how)


def _changed(files: list[Dataset], change: Callable[[int, Dataset], None]) -> list[Dataset]:
    for k, ds in enumerate(files):
        change(k, ds)
    return files


def _without(files: list[Dataset], *numbers: int) -> list[Dataset]:
    return [ds for k, ds in enumerate(files) if k not in numbers]


def _sets(grid: Grid, tags: Sequence[dict], apart: float = 700) -> list[Dataset]:
    """Several sets of slices at the same places; set n adds n x `apart`."""
    return [ds for n, tag in enumerate(tags) for ds in classic(grid, n * apart, **tag)]


def _delete(keyword: str, only: int | None = None):
    def change(k, ds):
        if only is None or k == only:
            delattr(ds, keyword)

    return change


def _number(order: Sequence[int]):
    def change(k, ds):
        ds.InstanceNumber = int(order[k])

    return change


def _again(ds: Dataset, new_uid: bool, offset: float = 0) -> Dataset:
    twin = copy.deepcopy(ds)
    if new_uid:
        twin.SOPInstanceUID = generate_uid()
    if offset:
        put_pixels(twin, np.frombuffer(ds.PixelData, "u2") + offset)
    return twin


def _moved(ds: Dataset) -> Dataset:
    twin = _again(ds, True)
    twin.ImagePositionPatient[0] += 40
    return twin


def _localizer(grid: Grid) -> list[Dataset]:
    """Three planes across one another in one series with a volume."""
    files = classic(grid)
    for orientation in (SAGITTAL, CORONAL):
        scout = Grid(orientation=orientation, origin=(-5, -40, 30), count=1, uid=grid.uid)
        files += classic(scout)
    return files


def _compressed(syntax, encoder: str | None = None, **how):
    """Compressed by pydicom; `how` goes to the encoder."""

    def build(folder: Path):
        if encoder is not None:
            pytest.importorskip(encoder, reason=f"{encoder} encodes this; see the extra codecs")
        for path, ds in _files(folder, classic(Grid(shape=(70, 64)))):
            ds.compress(syntax, **how)
            ds.save_as(path)

    return build


def _files(folder: Path, files: Sequence[Dataset]):
    """Paths in `folder`, with data sets that were written and read once, as encoders need them."""
    from pydicom import dcmread

    for k, ds in enumerate(files):
        plain = save(ds, folder.parent / "plain" / f"{k}.dcm")
        yield folder / plain.name, dcmread(plain)


def _jpeg(folder: Path):
    """Lossy JPEG, by Pillow."""
    for path, ds in _files(folder, _small(Grid(), bits=8)):
        file = io.BytesIO()
        Image.fromarray(ds.pixel_array).save(file, "JPEG", quality=100)
        ds.PixelData = encapsulate([file.getvalue()])
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        ds.save_as(path)


def _by_dcmtk(option: str):
    """Lossless JPEG, which no package here can write."""

    def build(folder: Path):
        encoder = program("dcmcjpeg", "apt-get install dcmtk")
        for path, ds in _files(folder, classic(Grid(shape=(70, 64)))):
            subprocess.run([encoder, option, ds.filename, path], check=True)

    return build


def _no_preamble(folder: Path):
    for k, ds in enumerate(classic(Grid())):
        save(ds, folder / f"{k}", preamble=False)


def _truncated(folder: Path):
    save_all(classic(Grid()), folder)
    path = sorted(folder.iterdir())[3]
    path.write_bytes(path.read_bytes()[:-50])


def _cut_in_header(folder: Path):
    save_all(classic(Grid()), folder)
    path = sorted(folder.iterdir())[3]
    path.write_bytes(path.read_bytes()[:500])


def _zipped(folder: Path):
    save_all(classic(Grid()), folder / "deep" / "er")
    shutil.make_archive(str(folder / "all"), "zip", folder, "deep")
    shutil.rmtree(folder / "deep")


def _nested(folder: Path):
    for k, ds in enumerate(classic(Grid())):
        save(ds, folder / f"a{k % 3}" / "b" / f"file {k} ümläut")
    (folder / "notes.txt").write_text("not DICOM")
    (folder / "empty").touch()


def _dirty_bits(k, ds):
    """Rubbish (an old overlay) in the four bits above the twelve stored ones."""
    values = np.frombuffer(ds.PixelData, "u2")
    ds.PixelData = (values | np.uint16((k % 16) << 12)).tobytes()


def _nan_slope(k, ds):
    ds.RescaleIntercept = "0"
    ds.RescaleSlope = "nan" if k == 2 else "1"


def _ge(value: int) -> Callable[[int, Dataset], None]:
    def change(k, ds):
        ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", value)

    return change


def _siemens_b(value: int) -> Callable[[int, Dataset], None]:
    def change(k, ds):
        ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", value)

    return change


def _lut(k, ds):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = (
        [4, 0, 16],
        "US",
        b"\0\0\1\0\4\0\7\0",
    )
    ds.ModalityLUTSequence = DicomSequence([table])


def _floats(k, ds):
    values = np.frombuffer(ds.PixelData, "u2").astype("<f4") + 0.25
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.BitsAllocated, ds.FloatPixelData = 32, values.tobytes()


def _report() -> Dataset:
    ds = header(Grid(), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22", Modality="SR")
    del ds.Rows, ds.Columns
    return ds


def _jitter(k, ds):
    ds.ImagePositionPatient[2] = float(ds.ImagePositionPatient[2]) + (0.02 if k % 2 else -0.02)


def _time_grid(times: int, lacking: int = 0) -> list[Dataset]:
    files = []
    for n in range(times):
        part = classic(GRID, 700 * n, TemporalPositionIdentifier=n + 1,
                       AcquisitionTime=f"1200{2 * n:02d}.5")  # fmt: skip
        files += part[: len(part) - lacking] if n == times - 1 else part
    return files


def _frames(*told: dict, slices: int = 7) -> list[tuple[int, dict]]:
    return [(k, {**one, "offset": 700 * n}) for n, one in enumerate(told) for k in range(slices)]


def _shuffled(order: list) -> list:
    return [order[i] for i in np.random.default_rng(3).permutation(len(order))]


GRID = Grid()
OBLIQUE = Grid(orientation=oblique(0.3, -0.4, 0.2))
TILTED = Grid(tilt=0.8)
UNEVEN = Grid(depths=[0, 3, 6.5, 9, 12.8, 15, 18])


def _fresh(**how) -> Grid:
    return Grid(**how)


# What an 8-bit value stands for.
SMALL_STEP, SMALL_BASE = 4.0, 3500.0


def _small(grid: Grid, **how) -> list[Dataset]:
    """Values in eight bits."""
    return classic(grid, rescale=lambda k: (SMALL_STEP, SMALL_BASE), **how)


def _colours(change: Callable[[Dataset, np.ndarray], None]) -> list[Dataset]:
    """Slices in colour, without a rescale: red is what `_small` stores, green 255 less that."""
    files = _small(Grid(shape=(12, 10)), bits=8)
    for ds in files:
        red = np.frombuffer(ds.PixelData, "u1").reshape(ds.Rows, ds.Columns)
        del ds.RescaleSlope, ds.RescaleIntercept
        change(ds, np.stack([red, 255 - red, np.full_like(red, 7)], axis=-1))
        ds["PixelData"].VR = "OB"
    return files


def _rgb(planes: bool):
    def change(ds: Dataset, colours: np.ndarray):
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 3, "RGB"
        ds.PlanarConfiguration = int(planes)
        ds.PixelData = (colours.transpose(2, 0, 1) if planes else colours).tobytes()

    return change


def _ybr(ds: Dataset, colours: np.ndarray):
    """Luminance and colour differences; PS3.3 C.7.6.3.1.2."""
    red, green, blue = np.moveaxis(colours.astype(float), -1, 0)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    b, r = (blue - y) / 1.772 + 128, (red - y) / 1.402 + 128
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 3, "YBR_FULL"
    ds.PlanarConfiguration = 0
    ds.PixelData = np.rint(np.stack([y, b, r], axis=-1)).clip(0, 255).astype("u1").tobytes()


def _palette(ds: Dataset, colours: np.ndarray):
    """Indices run the other way than red does, so that they cannot pass for it."""
    ds.PhotometricInterpretation = "PALETTE COLOR"
    ds.PixelData = colours[..., 1].tobytes()
    index = np.arange(256, dtype="<u2")
    for name, values in (("Red", 255 - index), ("Green", index), ("Blue", 0 * index + 7)):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", (values * 257).astype("<u2").tobytes())


def cases() -> list[Case]:
    """Every case, built afresh."""
    g = _fresh
    return [
        # Plain geometry
        Case("axial", _put(classic(g()))),
        Case("sagittal", _put(classic(g(orientation=SAGITTAL, origin=(5, -20, 30))))),
        Case("coronal", _put(classic(g(orientation=CORONAL)))),
        Case("oblique", _put(classic(OBLIQUE))),
        Case("double oblique", _put(classic(g(orientation=oblique(-1.1, 0.9, 2.2))))),
        Case("feet first", _put(classic(g(orientation=(-1, 0, 0, 0, 1, 0))))),
        Case("positions fall", _put(classic(g(gap=3.0))[::-1])),
        Case(
            "instance number against position",
            _put(_changed(classic(g()), _number([9, 2, 7, 1, 30, 4, 5]))),
        ),
        Case("instance numbers all one", _put(_changed(classic(g()), _number([1] * 7)))),
        Case("no instance number", _put(_changed(classic(g()), _delete("InstanceNumber")))),
        Case("one row longer than wide", _put(classic(g(shape=(5, 31), spacing=(0.7, 2.9))))),
        Case("positions jitter by 0.02 mm", _put(_changed(classic(g()), _jitter)), step=1.4),
        Case("two slices", _put(classic(g(count=2))), slices=2),
        Case("one slice", _put(classic(g(count=1))), slices=1, stack="single"),
        Case(
            "one slice, no thickness",
            _put(_changed(classic(g(count=1)), _delete("SliceThickness"))),
            slices=1,
            stack="single",
        ),
        Case("gantry tilt", _put(classic(TILTED)), stack="regular, sheared"),
        Case(
            "gantry tilt resampled",
            _put(classic(g(tilt=0.8))),
            stack="regular, sheared",
            options={"resample": True},
            margin=3,
        ),
        Case(
            "gantry tilt across the columns, oblique",
            _put(classic(g(orientation=oblique(0.2, 0.1, 0), tilt=-1.1))),
            stack="regular, sheared",
        ),
        # What is wrong with a stack
        Case("a missing slice", _put(_without(classic(g()), 3)), (), ["missing-slices"]),
        Case(
            "a missing slice repaired",
            _put(_without(classic(g()), 3)),
            stack="missing(1)",
            options={"repair": ["missing"]},
        ),
        Case(
            "two missing repaired, oblique",
            _put(_without(classic(OBLIQUE), 1, 4)),
            stack="missing(2)",
            options={"repair": ["missing"]},
        ),
        Case(
            "a missing slice under a tilt",
            _put(_without(classic(g(tilt=0.8)), 2)),
            (),
            ["missing-slices"],
        ),
        Case(
            "a missing slice under a tilt repaired",
            _put(_without(classic(g(tilt=0.8)), 2)),
            stack="missing(1), sheared",
            options={"repair": ["missing"]},
        ),
        Case("uneven spacing", _put(classic(UNEVEN)), (), ["variable-spacing"]),
        Case(
            "uneven spacing under a tilt repaired",
            _put(classic(g(depths=UNEVEN.depths, tilt=0.8))),
            stack="variable, sheared",
            options={"repair": ["variable"]},
            margin=3,
        ),
        Case(
            "two slabs far apart",
            _put(classic(g(depths=[0, 3, 6, 9, 60, 63, 66]))),
            (),
            ["missing-slices"],
            options={"repair": ["missing", "variable"]},
        ),
        Case(
            "two frames of reference",
            _put(classic(u := g()) + classic(g(uid=u.uid), 50, FrameOfReferenceUID="1.2.9")),
            [(0,), (50,)],
        ),
        Case(
            "uneven spacing repaired",
            _put(classic(g(depths=UNEVEN.depths))),
            stack="variable",
            options={"repair": ["variable"]},
        ),
        Case("same file twice", _put((f := classic(g())) + [_again(f[2], False)])),
        Case("same image under another UID", _put((f := classic(g())) + [_again(f[2], True)])),
        Case(
            "two images at one place",
            _put((f := classic(g())) + [_again(f[2], True, 9)]),
            (),
            ["duplicate-positions"],
        ),
        Case(
            "two images under one UID",
            _put((f := classic(g())) + [_again(f[2], False, 9)]),
            (),
            ["conflicting-instances"],
        ),
        # Several at one place
        Case("two echoes", _put(_sets(g(), [{"EchoTime": 10}, {"EchoTime": 30}])), [(0,), (700,)]),
        Case(
            "two inversion times",
            _put(_sets(g(), [{"InversionTime": 900}, {"InversionTime": 2500}])),
            [(0,), (700,)],
        ),
        Case(
            "magnitude and phase",
            _put(_sets(g(), [{}, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}])),
            [(0,), (700,)],
        ),
        Case(
            "magnitude and phase, GE",
            _put(_changed(classic(u := g()), _ge(0)) + _changed(classic(u, 700), _ge(1))),
            [(0,), (700,)],
        ),
        Case(
            "two b-values",
            _put(_sets(g(), [{"DiffusionBValue": 0}, {"DiffusionBValue": 1000}])),
            [(0, 700)],
        ),
        Case(
            "b-value and directions",
            _put(
                _sets(
                    g(),
                    [
                        {"DiffusionBValue": 0},
                        {"DiffusionBValue": 1000, "DiffusionGradientOrientation": [0, 0, 1]},
                        {"DiffusionBValue": 1000, "DiffusionGradientOrientation": [0, 1, 0]},
                    ],
                )
            ),
            [(0, 700, 1400)],
        ),
        Case(
            "b=0 twice, then a direction",
            _put(
                _sets(
                    g(),
                    [
                        {"DiffusionBValue": 0, "AcquisitionNumber": 1},
                        {"DiffusionBValue": 0, "AcquisitionNumber": 2},
                        {
                            "DiffusionBValue": 1000,
                            "DiffusionGradientOrientation": [1, 0, 0],
                            "AcquisitionNumber": 3,
                        },
                    ],
                )
            ),
            [(0, 700, 1400)],
        ),
        Case(
            "same pixels elsewhere in the plane",
            _put((f := classic(g())) + [_moved(f[2])]),
            (),
            ["duplicate-positions"],
        ),
        Case(
            "two b-values, Siemens",
            _put(
                _changed(classic(u := g()), _siemens_b(0))
                + _changed(classic(u, 700), _siemens_b(800))
            ),
            [(0, 700)],
        ),
        Case("four times", _put(_time_grid(4)), [(0, 700, 1400, 2100)]),
        Case("a time point short of slices", _put(_time_grid(3, lacking=2)), (), ["incomplete-4d"]),
        Case(
            "a short time point left out",
            _put(_time_grid(3, lacking=2)),
            [(0, 700)],
            options={"repair": ["incomplete"]},
        ),
        Case(
            "three trigger times",
            _put(_sets(g(), [{"TriggerTime": t} for t in (0, 50, 100)])),
            [(0, 700, 1400)],
        ),
        Case(
            "times and echoes",
            _put(
                _sets(
                    g(),
                    [
                        {"TemporalPositionIdentifier": t, "EchoTime": e}
                        for e in (10, 30)
                        for t in (1, 2)
                    ],
                )
            ),
            [(0, 700), (1400, 2100)],
        ),
        Case(
            "two acquisitions at one place",
            _put(_sets(g(), [{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}])),
            [(0,), (700,)],
        ),
        Case(
            "three acquisitions at one place",
            _put(_sets(g(), [{"AcquisitionNumber": n} for n in (1, 2, 3)])),
            [(0, 700, 1400)],
        ),
        Case(
            "acquisition number counts slices",
            _put(_changed(classic(g()), lambda k, ds: setattr(ds, "AcquisitionNumber", k))),
        ),
        Case(
            "two acquisitions interleaved",
            _put(_changed(classic(g()), lambda k, ds: setattr(ds, "AcquisitionNumber", k % 2))),
        ),
        Case("localizers under one UID", _put(_localizer(g())), [(0,)] * 3, slices=None, stack=""),
        Case(
            "another matrix under one UID",
            _put(classic(u := g()) + classic(g(uid=u.uid, shape=(8, 8)), 50)),
            [(0,), (50,)],
        ),
        Case("two series in one folder", _put(classic(g()) + classic(g(), 50)), [(0,), (50,)]),
        # Enhanced multi-frame and mosaic
        Case("enhanced", _put(enhanced(g(), _frames({})))),
        Case("enhanced, oblique", _put(enhanced(OBLIQUE, _frames({})))),
        Case("enhanced, frames shuffled", _put(enhanced(g(), _shuffled(_frames({}))))),
        Case(
            "enhanced, three times shuffled",
            _put(enhanced(g(), _shuffled(_frames({"time": 1}, {"time": 2}, {"time": 3})))),
            [(0, 700, 1400)],
        ),
        Case(
            "enhanced, two echoes shuffled",
            _put(enhanced(g(), _shuffled(_frames({"echo": 10.0}, {"echo": 30.0})))),
            [(0,), (700,)],
        ),
        Case(
            "enhanced, two b-values",
            _put(enhanced(g(), _frames({"b": 0.0}, {"b": 900.0}))),
            [(0, 700)],
        ),
        Case(
            "enhanced, a slope for each frame",
            _put(
                enhanced(
                    g(), _shuffled(_frames({})), rescale=lambda k: (0.5 + 0.25 * k, -100.0 * k)
                )
            ),
            step=2.0,
        ),
        Case(
            "enhanced, a frame missing",
            _put(enhanced(g(), _without(_frames({}), 3))),
            (),
            ["missing-slices"],
        ),
        Case(
            "enhanced, frames described and counted differ",
            _put(
                _changed(
                    [enhanced(g(), _frames({}))], lambda k, ds: setattr(ds, "NumberOfFrames", 6)
                )
            ),
            (),
            ["bad-header"],
        ),
        Case(
            "multi-frame without places",
            _put(
                _changed([enhanced(g(), _frames({}))], _delete("PerFrameFunctionalGroupsSequence"))
            ),
            (),
            ["no-position"],
        ),
        Case("mosaic", _put(mosaic(g()))),
        Case(
            "mosaic, oblique, nine tiles",
            _put(mosaic(g(orientation=oblique(0.1, 0.2, 0), count=9))),
            slices=9,
        ),
        Case(
            "mosaic, tiles run backwards",
            _put(mosaic(g(), backwards=True)),
            (),
            ["mosaic-unknown"],
        ),
        Case(
            "mosaic, three times",
            _put(
                [mosaic(g(uid="1.2.9"), offset=700 * n, AcquisitionNumber=n + 1) for n in range(3)]
            ),
            [(0, 700, 1400)],
        ),
        Case(
            "mosaic without private header",
            _put(_changed([mosaic(g())], lambda k, ds: ds.remove_private_tags())),
            (),
            ["mosaic-unknown"],
        ),
        # Values
        Case(
            "a slope for each slice",
            _put(classic(g(), rescale=lambda k: (0.5 + 0.25 * k, 0.0))),
            step=2.0,
        ),
        Case("an intercept for each slice", _put(classic(g(), rescale=lambda k: (1.0, -10.0 * k)))),
        Case("one broken slope", _put(classic(g(), rescale=lambda k: (0.37, 11.5)))),
        Case(
            "PET",
            _put(
                classic(
                    g(),
                    rescale=lambda k: (0.2 + 0.1 * k, 0.0),
                    SOPClassUID=PET,
                    Modality="PT",
                    Units="BQML",
                )
            ),
        ),
        Case(
            "CT with negative intercept",
            _put(classic(g(), rescale=lambda k: (1.0, -1024.0), SOPClassUID=CT, Modality="CT")),
        ),
        Case("signed", _put(classic(g(), offset=-BASE, signed=True)), [(-BASE,)]),
        Case(
            "signed in 12 bits", _put(classic(g(), offset=-BASE, signed=True, bits=12)), [(-BASE,)]
        ),
        Case(
            "rubbish above 12 bits",
            _put(_changed(classic(g(), offset=-2000, bits=12), _dirty_bits)),
            [(-2000,)],
        ),
        Case("unsigned beyond 32767", _put(classic(g(), offset=50000)), [(50000,)]),
        Case("32 bits", _put(classic(g(), offset=9e6, bits=32)), [(9e6,)]),
        Case("8 bits", _put(_small(g(), bits=8)), step=SMALL_STEP),
        Case("RGB", _put(_colours(_rgb(False))), step=SMALL_STEP),
        Case("RGB, a plane for each colour", _put(_colours(_rgb(True))), step=SMALL_STEP),
        Case("YBR", _put(_colours(_ybr)), step=3 * SMALL_STEP),
        Case("palette", _put(_colours(_palette)), step=SMALL_STEP),
        Case("float pixels", _put(_changed(classic(g()), _floats)), [(0.25,)]),
        Case(
            "MONOCHROME1 keeps its values",
            _put(classic(g(), PhotometricInterpretation="MONOCHROME1")),
        ),
        Case("NaN slope", _put(_changed(classic(g()), _nan_slope)), (), ["bad-rescale"]),
        Case(
            "slope of zero",
            _put(_changed(classic(g()), lambda k, ds: setattr(ds, "RescaleSlope", 0))),
            (),
            ["bad-rescale"],
        ),
        Case("modality table", _put(_changed(classic(g()), _lut)), (), ["nonlinear-lut"]),
        # How files are stored
        Case("implicit VR", _put(classic(g()), syntax=ImplicitVRLittleEndian)),
        Case("big endian", _put(classic(g()), syntax=ExplicitVRBigEndian)),
        Case("deflated", _put(classic(g()), syntax=DeflatedExplicitVRLittleEndian)),
        Case("no preamble", _no_preamble),
        Case("RLE", _compressed(RLELossless)),
        Case("JPEG 2000", _compressed(JPEG2000Lossless, "openjpeg")),
        Case("JPEG-LS", _compressed(JPEGLSLossless, "jpeg_ls")),
        Case("JPEG", _jpeg, step=3 * SMALL_STEP),
        Case("JPEG 2000, lossy", _compressed(JPEG2000, "openjpeg", j2k_psnr=[110]), step=5.0),
        Case(
            "JPEG-LS, nearly lossless",
            _compressed(JPEGLSNearLossless, "jpeg_ls", jls_error=2),
            step=5.0,
        ),
        Case("JPEG, lossless", _by_dcmtk("+el")),
        Case("JPEG, lossless, first order", _by_dcmtk("+e1")),
        Case("zip", _zipped),
        Case("nested folders, odd names, other files", _nested),
        # What is not there
        Case(
            "no PixelSpacing",
            _put(_changed(classic(g()), _delete("PixelSpacing"))),
            (),
            ["no-pixel-spacing"],
        ),
        Case(
            "no PixelSpacing in one file",
            _put(_changed(classic(g()), _delete("PixelSpacing", 3))),
            (),
            ["no-pixel-spacing"],
        ),
        Case(
            "PixelSpacing of zero",
            _put(_changed(classic(g()), lambda k, ds: setattr(ds, "PixelSpacing", [0, 0]))),
            (),
            ["no-pixel-spacing"],
        ),
        Case(
            "no position",
            _put(_changed(classic(g()), _delete("ImagePositionPatient"))),
            (),
            ["no-position"],
        ),
        Case(
            "no orientation",
            _put(_changed(classic(g()), _delete("ImageOrientationPatient"))),
            (),
            ["no-orientation"],
        ),
        Case(
            "orientation of zeros",
            _put(
                _changed(
                    classic(g()), lambda k, ds: setattr(ds, "ImageOrientationPatient", [0] * 6)
                )
            ),
            (),
            ["bad-orientation"],
        ),
        Case(
            "orientation not square",
            _put(
                _changed(
                    classic(g()),
                    lambda k, ds: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 0.1, 1, 0]),
                )
            ),
            (),
            ["bad-orientation"],
        ),
        Case(
            "position not finite",
            _put(
                _changed(
                    classic(g()), lambda k, ds: setattr(ds, "ImagePositionPatient", ["nan", 0, 0])
                )
            ),
            (),
            ["bad-header"],
        ),
        Case("no pixels", _put(_changed(classic(g()), _delete("PixelData"))), (), ["truncated"]),
        Case("one file cut short", _truncated, (), ["truncated"]),
        Case("one file cut in its header", _cut_in_header, (), ["unreadable", "unreadable"]),
        Case("a report beside", _put([*classic(g()), _report()]), refused=["not-an-image"]),
        Case(
            "claims 60000 x 60000",
            _put(
                _changed(
                    classic(g()),
                    lambda k, ds: (setattr(ds, "Rows", 60000), setattr(ds, "Columns", 60000)),
                )
            ),
            (),
            ["too-large"],
        ),
    ]
