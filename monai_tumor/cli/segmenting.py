"""Commands that segment, and what they need."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor.cli.command import Command, no_arguments, pairs, some_path
from monai_tumor.cli.steps import Steps
from monai_tumor.labels import SCHEMES

# The name of the option that gives a file of each contrast, and what it is.
_ROLES = {
    "t1n": "T1 without contrast agent; with the next three, in place of INPUT",
    "t1c": "T1 with contrast agent",
    "t2w": "T2",
    "t2f": "FLAIR",
}


@dataclass(frozen=True)
class Location:
    """A folder, printed as it is."""

    folder: Path

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {"path": str(self.folder)}

    def __str__(self) -> str:
        """The folder."""
        return str(self.folder)


def _segment_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        nargs="*",
        type=some_path,
        metavar="INPUT",
        help="study, folder of studies, datalist, 4D file, DICOM folder or zip",
    )
    for role, what in _ROLES.items():
        parser.add_argument(f"--{role}", type=some_path, metavar="FILE", help=what)
    parser.add_argument(
        "-o", "--output", type=some_path, required=True, help="folder for the results"
    )
    parser.add_argument(
        "--bundle", default="brats_ensemble", help="by name, or a folder (brats_ensemble)"
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run a bundle that is not shipped; it can do whatever you can do",
    )
    parser.add_argument("--weights", type=some_path, help="a file; by default the bundle's own")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--backend", choices=["auto", "torch", "openvino"], default="auto")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto")
    parser.add_argument(
        "--max-memory", metavar="SIZE", help="what the network may take, such as 4GB"
    )
    parser.add_argument("--tta", action="store_true", help="the mean over eight mirrored copies")
    parser.add_argument(
        "--scheme", choices=list(SCHEMES), default="brats2023", help="label values to write"
    )
    parser.add_argument(
        "--min-lesion-ml", type=float, default=0.0, help="drop smaller whole tumours (0)"
    )
    parser.add_argument(
        "--min-et-ml", type=float, default=0.0, help="call less enhancing tumour core (0)"
    )
    parser.add_argument("--modalities", help="channel order of 4D files, such as t2f,t1n,t1c,t2w")
    parser.add_argument(
        "--section",
        choices=["training", "validation", "test"],
        help="of a datalist (test, else validation, else training)",
    )
    parser.add_argument(
        "--series",
        action="append",
        default=[],
        metavar="ROLE=UID",
        help="the DICOM series to take for t1n, t1c, t2w or t2f; may be repeated",
    )
    parser.add_argument(
        "--reference", choices=list(_ROLES), default="t1c", help="whose grid all come to (t1c)"
    )
    parser.add_argument(
        "--no-register", action="store_true", help="trust the headers of images on other grids"
    )
    parser.add_argument(
        "--strip", choices=["auto", "always", "never"], default="auto", help="take the skull off"
    )
    parser.add_argument("--brain-mask", type=some_path, metavar="FILE", help="in place of a strip")
    parser.add_argument(
        "--keep-images", action="store_true", help="keep the images that were prepared"
    )
    parser.add_argument("--probabilities", action="store_true", help="write <study>_prob.nii.gz")
    parser.add_argument("--no-report", action="store_true", help="the label map alone")
    parser.add_argument("--no-dicom", action="store_true", help="no SEG, SR and key images")
    parser.add_argument("--resume", action="store_true", help="leave alone what is done already")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and write nothing"
    )


def _segment(options: argparse.Namespace) -> Any:
    from monai_tumor.services.opening import Preparation
    from monai_tumor.services.segment import Outputs, plan, segment_all

    roles = {role: getattr(options, role) for role in _ROLES}
    given = {role: path for role, path in roles.items() if path is not None}
    series = pairs(options.series, "--series", "ROLE=UID")
    sources = {
        "roles": given,
        "modalities": options.modalities,
        "section": options.section,
        "series": series,
    }
    preparation = Preparation(
        reference=options.reference,
        register=not options.no_register,
        strip=options.strip,
        brain_mask=options.brain_mask,
        keep_images=options.keep_images,
    )
    if options.dry_run:
        return plan(options.inputs, preparation=preparation, **sources)
    with Steps("segmenting") as steps:
        return segment_all(
            options.inputs,
            options.output,
            **sources,
            preparation=preparation,
            outputs=Outputs(
                report=not options.no_report,
                dicom=not options.no_dicom,
                probabilities=options.probabilities,
            ),
            bundle=options.bundle,
            trust=options.trust,
            weights=options.weights,
            device=options.device,
            backend=options.backend,
            precision=options.precision,
            max_memory=options.max_memory,
            tta=options.tta,
            min_lesion_ml=options.min_lesion_ml,
            min_et_ml=options.min_et_ml,
            scheme=options.scheme,
            resume=options.resume,
            on_study=steps.advance,
        )


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder (./demo)")


def _demo(options: argparse.Namespace) -> Any:
    from monai_tumor.services.demo import demo

    return demo(options.output, on_step=lambda line: print(line, file=sys.stderr, flush=True))


def _bundles_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", nargs="?", help="one bundle, by name or folder (default: all)")
    parser.add_argument("--path", action="store_true", help="print where it lies, and no more")


def _bundles(options: argparse.Namespace) -> Any:
    from monai_tumor.bundles import catalogue
    from monai_tumor.paths import BUNDLES, bundle_dir

    if options.path:
        return Location(bundle_dir(options.bundle) if options.bundle else BUNDLES)
    return catalogue(options.bundle)


def _doctor(options: argparse.Namespace) -> Any:  # noqa: ARG001
    from monai_tumor.services.doctor import doctor

    return doctor()


COMMANDS = {
    "segment": Command(
        "Segment one study or a folder of thousands, on each study's own grid.",
        _segment_arguments,
        _segment,
        left_out=lambda result: not result.complete,
        failed=lambda result: bool(getattr(result, "defects", ())),
    ),
    "demo": Command(
        "Make a phantom study, segment it with the shipped weights, score and draw it.",
        _demo_arguments,
        _demo,
    ),
    "bundles": Command(
        "List the bundles: what they are, where their configs lie.", _bundles_arguments, _bundles
    ),
    "doctor": Command(
        "Say what of all that speeds things up or is optional this machine has.",
        no_arguments,
        _doctor,
    ),
}
