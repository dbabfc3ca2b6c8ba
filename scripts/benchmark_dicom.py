"""Time `monai_tumor.dicom.convert` against dcm2niix on one series of 300 slices.

    python scripts/benchmark_dicom.py [--slices 300] [--size 512] [--repeats 3]

Both write `.nii.gz` with a sidecar from the same files, one after the other, in one run; both
start as a process of their own, so that starting up counts. Ours also audits what it wrote.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


def write_series(folder: Path, slices: int, size: int) -> None:
    """A smooth head-like volume with noise, one file a slice."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    series, study = generate_uid(), generate_uid()
    for k in range(slices):
        z = 2 * k / slices - 1
        inside = x**2 + y**2 + z**2 < 0.8
        values = inside * (900 + 300 * np.cos(5 * x) * np.cos(7 * y + z)) + rng.normal(
            20, 8, x.shape
        )
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "MR", 1, k + 1
        ds.SeriesDescription, ds.ImageType = "benchmark", ["ORIGINAL", "PRIMARY", "M"]
        ds.Manufacturer, ds.EchoTime, ds.RepetitionTime = "none", 3, 8
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, k], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
        ds.Rows = ds.Columns = size
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.PixelData = np.clip(values, 0, 4095).astype("<u2").tobytes()
        ds.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def best(command: list[str], out: Path, repeats: int) -> float:
    """The fastest of `repeats` runs, seconds."""
    times = []
    for _ in range(repeats):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
        if not list(out.glob("*.nii.gz")):
            sys.exit(f"no output from {command[0]}")
    return min(times)


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    beside = str(Path(sys.executable).parent)
    theirs = shutil.which("dcm2niix", path=beside) or shutil.which("dcm2niix")
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in", Path(folder) / "out"
        source.mkdir()
        write_series(source, given.slices, given.size)
        code = "import sys; from monai_tumor.dicom import convert; convert(*sys.argv[1:])"
        ours = best([sys.executable, "-c", code, str(source), str(out)], out, given.repeats)
        print(f"{given.slices} slices of {given.size} x {given.size}, best of {given.repeats}")
        print(f"monai_tumor  {ours:6.2f} s (with audit)")
        if theirs is None:
            print("dcm2niix     not installed: pip install dcm2niix")
            return
        other = best([theirs, "-z", "y", "-o", str(out), str(source)], out, given.repeats)
        print(f"dcm2niix     {other:6.2f} s")
        print(f"ratio        {ours / other:6.2f}")


if __name__ == "__main__":
    main()
