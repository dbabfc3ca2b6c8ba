"""Time reading and writing of NIfTI by ISA-L, as this project does, against plain nibabel.

    python scripts/benchmark_gzip.py [--study FOLDER] [--repeats 5]

Reads the four images of a BraTS study (by default a phantom, 16-bit, 240x240x155), and writes one
label map and one image of probabilities, each by both in turn in one run. Processor seconds, the
best of the repeats; also the bytes of the files written.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_tumor.data import inference_items
from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.imaging import nifti


def read_plain(paths: Sequence[str]) -> list[np.ndarray]:
    """By nibabel alone."""
    return [np.asanyarray(nib.load(path).dataobj) for path in paths]


def read_ours(paths: Sequence[str]) -> list[np.ndarray]:
    """By ISA-L."""
    return [nifti.voxels_of(nib.load(path)) for path in paths]


def best(action: Callable[[], object], repeats: int) -> float:
    """The least processor seconds of several."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Print seconds, ratios and sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--study", type=Path, help="a BraTS study; by default a phantom")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, study = Path(name), given.study
        if study is None:
            make = partial(make_phantom, size="brats")
            [study] = write_phantoms(folder / "phantom", count=1, layout="brats2023", make=make)
        paths = inference_items(study)[0]["image"]
        volumes = read_plain(paths)
        pairs = zip(volumes, read_ours(paths), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)
        affine = nib.load(paths[0]).affine
        bright = (volumes[3] > np.percentile(volumes[3], 98)).astype(np.uint8)
        smooth = np.stack([v / max(v.max(), 1) for v in volumes[:3]], -1).astype(np.float32)
        rows = [("read four images", partial(read_plain, paths), partial(read_ours, paths), "")]
        for what, array in (("write a label map", bright), ("write probabilities", smooth)):
            image, files = nib.Nifti1Image(array, affine), [folder / f"{n}.nii.gz" for n in "ab"]
            nib.save(image, files[0])
            nifti.save(image, files[1])
            plain, ours = (file.stat().st_size // 1000 for file in files)
            sizes = f"{plain} kB, {ours} kB"
            writers = partial(nib.save, image, files[0]), partial(nifti.save, image, files[1])
            rows.append((what, *writers, sizes))
        for what, plain, ours, sizes in rows:
            one, other = best(plain, given.repeats), best(ours, given.repeats)
            print(
                f"{what:20} nibabel {one:6.3f} s, ISA-L {other:6.3f} s: {one / other:4.1f}  {sizes}"
            )


if __name__ == "__main__":
    main()
