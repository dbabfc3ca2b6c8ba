"""Time training and loading of slices against a plain PyTorch loop with Pillow, in one run.

    python scripts/benchmark_slices.py [--count 2000] [--size 128] [--epochs 3] [--threads 2]

Both train MobileNetV3-Small with three channels from nothing on the same grey JPEG files, by
chance and of 208 pixels a side, in batches of 32, with AdamW and in float32. The plain loop
opens, converts and resizes a file each time with Pillow, in as many worker processes as there are
threads, and mirrors at random; ours is the bundle `slice_classifier` as it stands (decoded once,
augmented a batch at a time with all of its changes, the average of weights and checkpoints kept),
with validation left out. `--bfloat16` takes autocast for ours, which this network is slower with:
its convolutions have one channel a group. Reported are images per second of epochs after the
first, whose time, which decodes, stands beside; and of loading alone. The two take turns; the
best of --repeats counts.
"""

import argparse
import contextlib
import io
import logging
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch.utils.data import DataLoader, Dataset

from monai_tumor import bundles
from monai_tumor.networks.slices import MobileNetV3Small
from monai_tumor.training import one_line_errors

BATCH, SIDE, CLASSES = 32, 208, 4


def write_pictures(folder: Path, count: int) -> None:
    """Smooth blobs in noise, in folders of classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        blobs = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 9)
        grey = 110 + 80 * blobs / blobs.std() + rng.normal(0, 8, blobs.shape)
        path = folder / f"class{number % CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(path, quality=90)


class Plain(Dataset[tuple[torch.Tensor, int]]):
    """A file opened, converted, resized and perhaps mirrored each time."""

    def __init__(self, folder: Path, size: int) -> None:
        self.files = sorted(folder.rglob("*.jpg"))
        self.size = size

    def __len__(self) -> int:
        """How many."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Normalised pixels, [3, size, size], and the class."""
        path = self.files[index]
        with Image.open(path) as opened:
            picture = opened.convert("RGB").resize((self.size, self.size))
        pixels = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
        if random.random() < 0.5:
            pixels = pixels[:, :, ::-1]
        return torch.from_numpy((pixels - 0.45) / 0.22), int(path.parent.name[-1])


def plain_loader(folder: Path, size: int, workers: int) -> DataLoader[tuple[torch.Tensor, int]]:
    """Of the plain loop."""
    data = Plain(folder, size)
    return DataLoader(
        data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def plain_training(folder: Path, given: argparse.Namespace) -> list[float]:
    """Seconds of each epoch of the plain loop."""
    loader = plain_loader(folder, given.size, given.threads)
    network = MobileNetV3Small(3, CLASSES).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    times = []
    for _ in range(given.epochs):
        start = time.perf_counter()
        for images, labels in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
        times.append(time.perf_counter() - start)
    return times


def our_parts(folder: Path, output: Path, given: argparse.Namespace, **more: object) -> object:
    """The bundle's training, its parts made when asked for."""
    return bundles.load(
        "slice_classifier",
        "training",
        overlays=["networks/mobilenet_v3_small"],
        dataset_dir=folder,
        output_dir=output,
        size=given.size,
        batch_size=BATCH,
        validation=0.02,
        allow_leak=True,
        max_epochs=given.epochs,
        val_interval=10**6,
        amp=given.bfloat16,
        **more,
    )


def our_training(folder: Path, output: Path, given: argparse.Namespace) -> list[float]:
    """Seconds of each epoch of the bundle's training; the first with what is decoded before it."""
    from ignite.engine import Events

    parts = our_parts(folder, output, given)
    marks = [time.perf_counter()]
    trainer = parts["train#trainer"]  # type: ignore[index]
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: marks.append(time.perf_counter()))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer.run()
    return np.diff(marks).tolist()


def rate_of(batches: Callable[[], Iterable[object]], count: int) -> float:
    """Images per second of the second pass; the first may decode."""
    for _ in range(2):
        start = time.perf_counter()
        for _ in batches():
            pass
        seconds = time.perf_counter() - start
    return count / seconds


def main() -> None:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000, help="pictures")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true", help="autocast for ours")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pictures"
        folder.mkdir()
        write_pictures(folder, given.count)
        plain, ours = [], []
        for turn in range(given.repeats):
            plain.append(plain_training(folder, given))
            ours.append(our_training(folder, Path(temporary) / f"run{turn}", given))
        parts = our_parts(folder, Path(temporary) / "loading", given)
        dataset = parts["train#dataset"]  # type: ignore[index]
        loader, prepare = parts["train#dataloader"], parts["train#prepare_batch"]  # type: ignore[index]
        loading = {
            "plain": rate_of(lambda: plain_loader(folder, given.size, given.threads), given.count),
            "ours": rate_of(lambda: map(prepare, loader), len(dataset)),
        }
    training = {
        "plain": given.count / min(min(times[1:]) for times in plain),
        "ours": len(dataset) / min(min(times[1:]) for times in ours),
    }
    print(
        f"{given.count} JPEG of {SIDE} pixels, network at {given.size}, batch {BATCH},"
        f" {given.threads} threads, best of {given.repeats}, images per second"
    )
    for name, rates in (("training", training), ("loading", loading)):
        ratio = rates["ours"] / rates["plain"]
        print(f"{name:<10}ours {rates['ours']:8.1f}   plain {rates['plain']:8.1f}   {ratio:5.2f} x")
    first = min(times[0] for times in ours), min(times[0] for times in plain)
    print(f"first epoch, decoding included: ours {first[0]:.1f} s, plain {first[1]:.1f} s")


if __name__ == "__main__":
    one_line_errors()
    main()
