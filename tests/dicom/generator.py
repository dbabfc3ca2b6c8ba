"""DICOM series whose voxel values are a linear function of patient millimetres.

A converted file is right exactly when, at every voxel, its value is that function of the place that
its affine gives. Each set of slices (an echo, a time point, ...) adds a constant of its own, so
that slices of two sets cannot be mixed unseen.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, generate_uid

BASE = 4000.0
GRADIENT = np.array([3.0, 5.0, 7.0])  # per mm along x, y, z of the patient (LPS)

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
PET = "1.2.840.10008.5.1.4.1.1.128"

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)


def linear(points):
    """The value at `points`, [..., 3], LPS mm."""
    return BASE + np.asarray(points, float) @ GRADIENT


def oblique(a: float, b: float, c: float) -> tuple[float, ...]:
    """Row and column cosines turned by three angles, rad, about x, y and z."""
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    turned = z @ y @ x
    return (*turned[:, 0], *turned[:, 1])


@dataclass
class Grid:
    """Where a series lies. `tilt` is mm of drift along the columns from slice to slice."""

    orientation: Sequence[float] = AXIAL
    origin: Sequence[float] = (-20.0, -30.0, -10.0)
    spacing: tuple[float, float] = (2.0, 1.5)  # between rows, between columns
    shape: tuple[int, int] = (12, 10)  # rows, columns
    count: int = 7
    gap: float = 3.0
    tilt: float = 0.0
    depths: list[float] | None = None
    uid: str = field(default_factory=generate_uid)
    study: str = field(default_factory=generate_uid)

    @property
    def row(self):
        return np.array(self.orientation[:3], float)

    @property
    def column(self):
        return np.array(self.orientation[3:], float)

    def positions(self):
        normal = np.cross(self.row, self.column)
        depths = self.depths or [k * self.gap for k in range(self.count)]
        drift = [k * self.tilt for k in range(len(depths))]
        return [
            np.array(self.origin) + d * normal + t * self.column
            for d, t in zip(depths, drift, strict=True)
        ]

    def points(self, position):
        """LPS mm of every pixel, [rows, columns, 3]."""
        r, c = np.indices(self.shape)
        return (
            np.asarray(position)
            + r[..., None] * self.spacing[0] * self.column
            + c[..., None] * self.spacing[1] * self.row
        )


def header(grid: Grid, **tags) -> Dataset:
    """What every file of a series has."""
    ds = Dataset()
    ds.SOPClassUID = MR
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID = grid.study
    ds.SeriesInstanceUID = grid.uid
    ds.FrameOfReferenceUID = "1.2.3"
    ds.Modality = "MR"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20200101", "120000", "1"
    ds.PatientName = "Secret^Name"
    ds.PatientID = "SECRET-ID"
    ds.PatientBirthDate = "19600102"
    ds.SeriesNumber = 4
    ds.SeriesDescription = "ax t1"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = grid.shape
    ds.SliceThickness = 99  # misleading on purpose: spacing comes from positions
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def put_pixels(ds: Dataset, stored, bits: int = 16, signed: bool = False, allocated: int = 0):
    """Store integers [..., rows, columns] as the pixel data of `ds`."""
    ds.BitsAllocated = allocated or (8 if bits <= 8 else 16 if bits <= 16 else 32)
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(signed)
    kind = f"{'i' if signed else 'u'}{ds.BitsAllocated // 8}"
    low = -(2 ** (bits - 1)) if signed else 0
    rounded = np.rint(stored)
    assert rounded.min() >= low
    assert rounded.max() < low + 2.0**bits
    values = rounded.astype(kind)
    if signed and bits < ds.BitsAllocated:  # leave the unused high bits clear, as scanners do
        values = values & np.array(2**bits - 1, kind)
    ds.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"


def classic(
    grid: Grid, offset: float = 0, bits: int = 16, signed: bool = False, rescale=None, **tags
) -> list[Dataset]:
    """One file per slice; `rescale(k)` gives slice k's slope and intercept."""
    files = []
    for k, position in enumerate(grid.positions()):
        ds = header(grid, **tags)
        ds.InstanceNumber = k + 1
        ds.ImagePositionPatient = [float(round(v, 6)) for v in position]
        ds.ImageOrientationPatient = [float(round(v, 9)) for v in grid.orientation]
        ds.PixelSpacing = list(grid.spacing)
        values = linear(grid.points(position)) + offset
        if rescale is not None:
            slope, intercept = (round(v, 6) for v in rescale(k))
            ds.RescaleSlope, ds.RescaleIntercept = str(slope), str(intercept)
            values = (values - intercept) / slope
        put_pixels(ds, values, bits, signed)
        files.append(ds)
    return files


def enhanced(grid: Grid, order: Sequence[tuple[int, dict]], rescale=None) -> Dataset:
    """One enhanced file; `order` lists (slice, what tells it from others) in stored order.

    The second may hold `offset`, `time`, `echo`, `b`.
    """
    ds = header(grid, SOPClassUID=ENHANCED_MR, NumberOfFrames=len(order))
    shared = Dataset()
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [float(round(v, 9)) for v in grid.orientation]
    measures.PixelSpacing, measures.SliceThickness = list(grid.spacing), 99
    shared.PlaneOrientationSequence = DicomSequence([orientation])
    shared.PixelMeasuresSequence = DicomSequence([measures])
    ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
    frames, stored = [], []
    positions = grid.positions()
    for number, (k, told) in enumerate(order):
        frame, place, content = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [float(round(v, 6)) for v in positions[k]]
        frame.PlanePositionSequence = DicomSequence([place])
        if "time" in told:
            content.TemporalPositionIndex = told["time"]
            content.FrameAcquisitionDateTime = f"202001011200{told['time'] * 2:02d}.000"
        frame.FrameContentSequence = DicomSequence([content])
        if "echo" in told:
            echo = Dataset()
            echo.EffectiveEchoTime = told["echo"]
            frame.MREchoSequence = DicomSequence([echo])
        if "b" in told:
            diffusion = Dataset()
            diffusion.DiffusionBValue = told["b"]
            frame.MRDiffusionSequence = DicomSequence([diffusion])
        values = linear(grid.points(positions[k])) + told.get("offset", 0)
        if rescale is not None:
            transformation = Dataset()
            slope, intercept = (round(v, 6) for v in rescale(number))
            transformation.RescaleSlope = str(slope)
            transformation.RescaleIntercept = str(intercept)
            frame.PixelValueTransformationSequence = DicomSequence([transformation])
            values = (values - intercept) / slope
        frames.append(frame)
        stored.append(values)
    ds.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    put_pixels(ds, np.array(stored))
    return ds


def csa_header(**tags: Sequence[float]) -> bytes:
    """Siemens' private header, second form, with numbers as text."""
    out = b"SV10" + b"\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, values in tags.items():
        out += struct.pack("<64si4s3i", name.encode(), len(values), b"FD", 4, len(values), 77)
        for value in values:
            text = f"{value:.8f}".encode() + b"\0"
            out += struct.pack("<4i", len(text), len(text), 77, len(text))
            out += text + b"\0" * (-len(text) % 4)
    return out


def mosaic(grid: Grid, backwards: bool = False, offset: float = 0, **tags) -> Dataset:
    """All slices as tiles of one Siemens picture; `backwards`: tiles run against row x column."""
    side = int(np.ceil(np.sqrt(grid.count)))
    rows, columns = grid.shape
    positions = grid.positions()
    positions = positions[::-1] if backwards else positions
    picture = np.zeros((rows * side, columns * side))
    for k, position in enumerate(positions):
        r, c = k // side * rows, k % side * columns
        picture[r : r + rows, c : c + columns] = linear(grid.points(position)) + offset
    ds = header(grid, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], **tags)
    ds.Rows, ds.Columns = picture.shape
    ds.PixelSpacing = list(grid.spacing)
    ds.SpacingBetweenSlices = grid.gap
    ds.ImageOrientationPatient = [float(v) for v in grid.orientation]
    # Siemens states the corner that the mosaic would have were it centred on the first slice.
    corner = (
        positions[0]
        - grid.column * grid.spacing[0] * (picture.shape[0] - rows) / 2
        - grid.row * grid.spacing[1] * (picture.shape[1] - columns) / 2
    )
    ds.ImagePositionPatient = [float(round(v, 6)) for v in corner]
    normal = np.cross(grid.row, grid.column) * (-1 if backwards else 1)
    block = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    csa = csa_header(NumberOfImagesInMosaic=[grid.count], SliceNormalVector=list(normal))
    block.add_new(0x10, "OB", csa)
    put_pixels(ds, picture)
    return ds


def save(
    ds: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian, preamble: bool = True
) -> Path:
    """Write `ds` in a native transfer syntax."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    if syntax == ExplicitVRBigEndian and ds.BitsAllocated > 8:
        size = f"u{ds.BitsAllocated // 8}"
        ds.PixelData = np.frombuffer(ds.PixelData, f"<{size}").astype(f">{size}").tobytes()
    if not preamble:
        ds.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
        return path
    ds.file_meta = meta
    ds.save_as(path, enforce_file_format=True)
    return path


def save_all(files: Sequence[Dataset], folder: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write `files` under names that do not tell their order."""
    names = np.random.default_rng(7).permutation(len(files))
    for ds, name in zip(files, names, strict=True):
        save(ds, folder / f"IM{name:04d}", syntax)
    return folder
