"""Time `monai-tumor segment` against the plain recipe, side by side in one run.

    python scripts/benchmark.py [--study FOLDER] [--studies 10] [--device cpu] [--out FILE.json]

The plain recipe is MONAI's brats_mri_segmentation as its model card runs it, written down below:
`monai.bundle run`, SegResNet-16, a window of 240x240x160 voxels, `Invertd` before the threshold;
float32 on a CPU, AMP on CUDA. Its weights are random, which changes no time. Ours is the shipped
`brats_segresnet`, once for each backend there is.

Each is a process of its own, from its start to files on the disk, for one study and for a folder
of several; what is common to both (imports, the network) drops out of their difference, which is
the time per study. The memory is the process's greatest resident size. One run after another,
nothing else should run beside.

The study is a BraTS folder; by default a phantom of full size (16-bit, 240x240x155). With --profile
the functions that take most time in one study follow.
"""

import argparse
import cProfile
import json
import os
import platform
import pstats
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from monai_tumor.data import inference_items
from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.inference import Segmenter
from monai_tumor.inference.backends import has_openvino
from monai_tumor.networks.precision import cpu_has_bf16
from monai_tumor.provenance import versions
from monai_tumor.training import one_line_errors

ROLES = ("t1n", "t1c", "t2w", "t2f")
BUNDLE = "brats_segresnet"
Run = tuple[float, float, float | None]  # seconds, GB, the GPU's busy share


@dataclass(frozen=True)
class Timing:
    """One way to segment, measured.

    Attributes:
        name: of the way.
        single: seconds from process start to files on the disk, of one study.
        folder: the same of `studies`.
        studies: in that folder.
        peak_gb: greatest resident memory of either process, 10^9 bytes.
        gpu_busy: share of time that the GPU was busy, where there is one.
    """

    name: str
    single: float
    folder: float
    studies: int
    peak_gb: float
    gpu_busy: float | None

    @property
    def per_study(self) -> float:
        """Seconds that one more study takes."""
        return (self.folder - self.single) / (self.studies - 1)


def plain_bundle(folder: Path, window: Sequence[int]) -> Path:
    """The plain recipe as a bundle: MONAI's zoo config, with random weights."""
    from monai.networks.nets import SegResNet

    network = {
        "_target_": "SegResNet",
        "blocks_down": [1, 2, 2, 4],
        "blocks_up": [1, 1, 1],
        "init_filters": 16,
        "in_channels": 4,
        "out_channels": 3,
        "dropout_prob": 0.2,
    }
    arguments = {name: value for name, value in network.items() if name != "_target_"}
    torch.manual_seed(0)
    (folder / "models").mkdir(parents=True)
    torch.save(SegResNet(**arguments).state_dict(), folder / "models" / "model.pt")
    loader = {"_target_": "CheckpointLoader", "load_dict": {"model": "@network"}}
    config = {
        "imports": ["$import json", "$import torch", "$from pathlib import Path"],
        "bundle_root": str(folder),
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "datalist": "$json.loads((Path(@bundle_root) / 'datalist.json').read_text())",
        "network": {"_target_": "$@network_def.to", "device": "@device"},
        "network_def": network,
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {
                    "_target_": "NormalizeIntensityd",
                    "keys": "image",
                    "nonzero": True,
                    "channel_wise": True,
                },
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "@datalist",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(window),
            "sw_batch_size": 1,
            "overlap": 0.5,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "resample": False,
                    "output_dir": "$@bundle_root + '/eval'",
                },
            ],
        },
        "handlers": [loader | {"load_path": "$@bundle_root + '/models/model.pt'"}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": "$torch.cuda.is_available()",
        },
        "run": ["$@evaluator.run()"],
    }
    (folder / "configs").mkdir()
    (folder / "configs" / "metadata.json").write_text("{}")
    path = folder / "configs" / "inference.json"
    path.write_text(json.dumps(config, indent=2))
    return path


def write_studies(source: Path | None, folder: Path, count: int) -> list[Path]:
    """`count` studies with names of their own, copies of `source` or of one phantom."""
    if source is None:
        make = partial(make_phantom, size="brats")
        [source] = write_phantoms(folder / "one", count=1, layout="brats2023", make=make)
    images = inference_items(source)[0]["image"]
    studies = []
    for number in range(count):
        name = f"BraTS-GLI-{number:05d}-000"
        study = folder / "studies" / name
        study.mkdir(parents=True)
        for role, image in zip(ROLES, images, strict=True):
            shutil.copy(image, study / f"{name}-{role}.nii.gz")
        studies.append(study)
    return studies


def run(command: Sequence[str], environment: dict[str, str]) -> Run:
    """What it took to run a process from its start to its end."""
    busy = GpuBusy()
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        busy.start()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        share = busy.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{log.read().decode(errors='replace')[-3000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, used.ru_maxrss * unit / 1e9, share


class GpuBusy:
    """The mean of nvidia-smi's utilisation, asked for twice a second; None without a GPU."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._shares: list[float] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        if torch.cuda.is_available() and shutil.which("nvidia-smi"):
            self._thread.start()

    def stop(self) -> float | None:
        """The share of time that the GPU was busy."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        return float(np.mean(self._shares)) / 100 if self._shares else None

    def _watch(self) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._ended.wait(0.5):
            answer = subprocess.run(query, capture_output=True, text=True, check=False)
            self._shares += [float(line) for line in answer.stdout.split()[:1]]


def measure(name: str, studies: Sequence[Path], call: Callable[[Sequence[Path]], Run]) -> Timing:
    """One study, then all of them; a first run of one fills caches and is thrown away."""
    call(studies[:1])
    single = call(studies[:1])
    folder = call(studies)
    peak = max(single[1], folder[1])
    return Timing(name, single[0], folder[0], len(studies), peak, folder[2])


def measure_plain(
    studies: Sequence[Path], work: Path, window: Sequence[int], env: dict[str, str]
) -> Timing:
    """The plain recipe; two studies tell its time per study."""
    config = plain_bundle(work / "plain", window)
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run"]
    command += ["--config_file", str(config)]

    def call(some: Sequence[Path]) -> Run:
        images = [[str(s / f"{s.name}-{role}.nii.gz") for role in ROLES] for s in some]
        (work / "plain" / "datalist.json").write_text(json.dumps([{"image": i} for i in images]))
        return run(command, env)

    return measure("plain recipe", studies[:2], call)


def measure_ours(
    backend: str, studies: Sequence[Path], work: Path, device: str, env: dict[str, str]
) -> Timing:
    """`monai-tumor segment` with one backend."""
    command = [sys.executable, "-m", "monai_tumor.cli", "segment"]
    options = ["--bundle", BUNDLE, "--device", device, "--backend", backend]

    def call(some: Sequence[Path]) -> Run:
        out = work / f"out_{backend}_{len(some)}"
        shutil.rmtree(out, ignore_errors=True)
        made = run([*command, *map(str, some), "-o", str(out), *options], env)
        written = len(list(out.rglob("*_seg.nii.gz")))
        if written != len(some):
            sys.exit(f"{written} of {len(some)} label maps were written.")
        return made

    return measure(f"monai-tumor, {backend}", studies, call)


def profile(study: Path, device: str, rows: int = 25) -> None:
    """Print the steps of one study, and the functions that take most of it."""
    segmenter = Segmenter(BUNDLE, device=device)
    item = inference_items(study)[0]
    segmenter(item)  # what is done once is done
    watch = cProfile.Profile()
    watch.enable()
    result = segmenter(item)
    with tempfile.TemporaryDirectory() as folder:
        result.save(folder)
    watch.disable()
    print(f"\none study, in this process: {dict(result.seconds)}")
    pstats.Stats(watch).sort_stats("tottime").print_stats(rows)


def print_table(timings: Sequence[Timing]) -> None:
    """Seconds, memory, and how many times faster than the first."""
    plain = timings[0]
    print(f"\n| {'':22} | per study | ratio | one, from start | ratio | peak GB | GPU busy |")
    print("|---|---|---|---|---|---|---|")
    for timing in timings:
        busy = "" if timing.gpu_busy is None else f"{timing.gpu_busy:.0%}"
        print(
            f"| {timing.name:22} | {timing.per_study:7.2f} s "
            f"| {plain.per_study / timing.per_study:5.1f} | {timing.single:13.2f} s "
            f"| {plain.single / timing.single:5.1f} | {timing.peak_gb:7.2f} | {busy} |"
        )


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--study", type=Path, help="a BraTS study; by default a phantom")
    parser.add_argument("--studies", type=int, default=10)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--window", type=int, nargs=3, default=(240, 240, 160), help="of the plain")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    given = parser.parse_args()
    if given.studies < 2:
        parser.error("at least two studies tell the time of one more")
    environment = dict(os.environ)
    if given.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, bfloat16: {cpu_has_bf16()}; {versions()}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        studies = write_studies(given.study, work, given.studies)
        timings = [measure_plain(studies, work, given.window, environment)]
        backends = ["openvino"] if given.device == "cpu" and has_openvino() else []
        for backend in ["torch", *backends]:
            timings.append(measure_ours(backend, studies, work, given.device, environment))
            print(timings[-1], flush=True)
        print_table(timings)
        if given.profile:
            profile(studies[0], given.device)
    if given.out:
        rows = [asdict(t) | {"per_study": t.per_study} for t in timings]
        given.out.write_text(json.dumps({"versions": versions(), "timings": rows}, indent=2))


if __name__ == "__main__":
    one_line_errors()
    main()
