"""The command line: a table of commands, each of which calls one function and prints its result.

Exit codes: 0 done; 1 any other failure that has a message; 2 wrong usage; 3 done, but something
was left out or has problems; 4 input that cannot be used; 5 a bundle or its weights; 6 training;
7 an optional package is missing; 8 a PACS cannot be reached or refuses; 130 interrupted.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor import __version__, cli_pacs
from monai_tumor.errors import InputError, MonaiTumorError
from monai_tumor.labels import SCHEMES
from monai_tumor.progress import Steps

LEFT_OUT = 3
INTERRUPTED = 130
_RESEARCH = "Research use only. Not a medical device; not for diagnosis."


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        help: one line.
        add_arguments: adds its arguments to a parser.
        run: from the parsed arguments to a result with `as_dict()` and `__str__`.
        left_out: whether a result means exit code 3; None if it never does.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Any]
    left_out: Callable[[Any], bool] | None = None


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    command = COMMANDS[options.command]
    try:
        result = command.run(options)
        _show(result, options.json)
    except MonaiTumorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, `head` say, has gone
        sys.stderr.close()
        return 0
    return LEFT_OUT if command.left_out is not None and command.left_out(result) else 0


def _show(result: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.as_dict(), indent=2, ensure_ascii=False))
    else:
        print(result)
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="monai-tumor", description=f"{_SUMMARY} {_RESEARCH}")
    parser.add_argument("--version", action="version", version=f"monai-tumor {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.help, description=command.help)
        command.add_arguments(one)
        one.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


# The name of the option that gives a file of each contrast, and what it is.
_ROLES = {
    "t1n": "T1 without contrast agent; with the next three, in place of INPUT",
    "t1c": "T1 with contrast agent",
    "t2w": "T2",
    "t2f": "FLAIR",
}
_SUMMARY = "Brain-tumour segmentation as MONAI bundles: inspect, segment, evaluate, compare."


# -- arguments


def _path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="study, folder, datalist or 4D file"
    )


def _scheme(parser: argparse.ArgumentParser, required: bool = False) -> None:
    parser.add_argument(
        "--scheme",
        choices=list(SCHEMES),
        required=required,
        help="label scheme" + ("" if required else " (default: the one the layout stands for)"),
    )


def _inspect_arguments(parser: argparse.ArgumentParser) -> None:
    _path(parser)
    _scheme(parser)
    parser.add_argument("--modalities", help="channel order of 4D files, such as t2f,t1n,t1c,t2w")
    parser.add_argument("--voxels", action="store_true", help="read every voxel, not headers alone")


def _split_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of studies")
    parser.add_argument("-o", "--output", type=Path, required=True, help="datalist JSON to write")
    _scheme(parser)
    parser.add_argument("--validation", type=float, default=0.2, help="share of the subjects (0.2)")
    parser.add_argument("--folds", type=int, help="k for k-fold cross-validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--on-bad",
        choices=["error", "skip"],
        default="error",
        help="a study that cannot be used: stop with an error, or leave it out and say so",
    )
    parser.add_argument(
        "--repair", action="store_true", help="accept certain repairs and record them"
    )


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "prediction", type=Path, metavar="PRED", help="label map, or folder of them"
    )
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="label map, or folder of them")
    _scheme(parser, required=True)
    parser.add_argument(
        "--prediction-scheme", choices=list(SCHEMES), help="if the predictions' differs"
    )
    parser.add_argument("-o", "--output", type=Path, help="folder for scores.json, .csv and .md")
    parser.add_argument(
        "--allow-missing", action="store_true", help="score what is there, list what is not"
    )


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="scores.json or report.json, the first")
    parser.add_argument("b", type=Path, metavar="B", help="another of the same kind, the second")


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, metavar="STUDY", help="study folder or 4D file")
    parser.add_argument("mask", type=Path, metavar="MASK", help="label map on the study's grid")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    _scheme(parser, required=True)
    parser.add_argument("--modalities", help="channel order of a 4D file, such as t2f,t1n,t1c,t2w")


def _segment_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        nargs="*",
        type=Path,
        metavar="INPUT",
        help="study, folder of studies, datalist, 4D file, DICOM folder or zip",
    )
    for role, what in _ROLES.items():
        parser.add_argument(f"--{role}", type=Path, metavar="FILE", help=what)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--bundle", default="brats_ensemble", help="by name (brats_ensemble)")
    parser.add_argument("--weights", type=Path, help="a file; by default the bundle's own")
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
    parser.add_argument("--brain-mask", type=Path, metavar="FILE", help="in place of a strip")
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


def _phantoms_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--layout", choices=["msd", "brats2021", "brats2023"], default="brats2023")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", choices=["brain", "brats", "small"], default="brain")
    parser.add_argument("--spacing", type=float, default=1.0, help="voxel size in mm (1)")
    parser.add_argument("--contrast", choices=["clinical", "random"], default="clinical")


def _bundles_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", nargs="?", help="one bundle, by name or folder (default: all)")
    parser.add_argument("--path", action="store_true", help="print where it lies, and no more")


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """For a command that takes nothing."""


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder (./demo)")


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="files, folders, zip, DICOMDIR"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--bids", action="store_true", help="name files and folders as BIDS does")
    parser.add_argument("--resample", action="store_true", help="remove the shear of gantry tilt")
    parser.add_argument("--series", metavar="UID", help="this series alone")
    parser.add_argument(
        "--repair",
        action="append",
        default=[],
        choices=["missing", "variable", "incomplete", "unreadable"],
        help="a repair to make and record, instead of a refusal; may be repeated",
    )
    parser.add_argument(
        "--keep-identity", action="store_true", help="keep the patient's fields in the sidecar"
    )


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mask", type=Path, metavar="MASK", help="NIfTI label map")
    parser.add_argument(
        "--source", type=Path, required=True, help="DICOM series the mask was made on: folder, zip"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--series", metavar="UID", help="the series, where the source has several")
    parser.add_argument(
        "--scheme",
        choices=list(SCHEMES),
        help="label scheme (default: what the JSON beside the mask names)",
    )
    parser.add_argument(
        "--algorithm",
        metavar="'NAME VERSION'",
        help="what made the mask, or 'manual' (default: the bundle that the JSON beside it names)",
    )
    parser.add_argument(
        "--resample", action="store_true", help="take the nearest voxel where the grids differ"
    )
    parser.add_argument("--no-pictures", action="store_true", help="leave the key images out")


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="DATASET",
        help="folder [split/]class/picture, CSV (path,label[,patient][,split]) or slice datalist",
    )
    parser.add_argument("-o", "--output", type=Path, help="folder for audit.json, .txt, twins.csv")
    parser.add_argument(
        "--patient", metavar="REGEX", help="finds the patient in a path; its first group counts"
    )
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="CLASS=NAME",
        help="call a class otherwise, so that data sets can be compared; may be repeated",
    )


def _classify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="pictures, DICOM files, folders"
    )
    parser.add_argument("--bundle", default="slice_classifier", help="by name (slice_classifier)")
    parser.add_argument(
        "--weights",
        action="append",
        type=Path,
        metavar="FILE",
        help="by default the bundle's own; repeated, an ensemble",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--no-gate", action="store_true", help="give a class to any picture")
    parser.add_argument(
        "--explain", type=Path, metavar="DIR", help="folder for pictures of where it looked"
    )
    parser.add_argument(
        "--method", choices=["gradcam", "gradcam++", "occlusion"], default="gradcam"
    )


def _deidentify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="files, folders, zip, DICOMDIR"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="new or empty folder")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        choices=[
            "full-dates",
            "modified-dates",
            "uids",
            "device",
            "institution",
            "patient",
            "descriptors",
            "safe-private",
        ],
        help="an option of PS3.15: what to retain, or a cleaning to do; may be repeated",
    )
    parser.add_argument(
        "--salt", type=Path, metavar="FILE", help="keep the salt here, so that later runs fit"
    )
    parser.add_argument(
        "--allow-burned-in",
        action="store_true",
        help="take screen copies, ultrasound and the like, which may show names",
    )


# -- what they call


def _inspect(options: argparse.Namespace) -> Any:
    from monai_tumor.services.inspect import inspect

    with Steps("reading studies") as steps:
        return inspect(
            options.path,
            scheme=options.scheme,
            modalities=options.modalities,
            voxels=options.voxels,
            on_checked=steps.advance,
        )


def _split(options: argparse.Namespace) -> Any:
    from monai_tumor.data import make_datalist

    with Steps("checking studies") as steps:
        datalist = make_datalist(
            options.path,
            scheme=options.scheme,
            validation=options.validation,
            folds=options.folds,
            seed=options.seed,
            on_bad=options.on_bad,
            repair=options.repair,
            on_checked=steps.advance,
        )
    datalist.save(options.output)
    return datalist


def _evaluate(options: argparse.Namespace) -> Any:
    from monai_tumor.services.evaluate import evaluate

    with Steps("scoring") as steps:
        return evaluate(
            options.prediction,
            options.truth,
            scheme=options.scheme,
            prediction_scheme=options.prediction_scheme,
            output=options.output,
            allow_missing=options.allow_missing,
            on_case=steps.advance,
        )


def _convert(options: argparse.Namespace) -> Any:
    from monai_tumor.services.convert import convert_all

    with Steps("converting series") as steps:
        return convert_all(
            options.inputs,
            options.output,
            bids=options.bids,
            resample=options.resample,
            series=options.series,
            repair=options.repair,
            keep_identity=options.keep_identity,
            on_series=steps.advance,
        )


def _export(options: argparse.Namespace) -> Any:
    from monai_tumor.services.export import export_mask

    return export_mask(
        options.mask,
        options.source,
        options.output,
        scheme=options.scheme,
        algorithm=options.algorithm,
        pictures=not options.no_pictures,
        series=options.series,
        resample=options.resample,
    )


def _audit(options: argparse.Namespace) -> Any:
    from monai_tumor.data.slices import audit

    rename = dict(_pair(one, "--rename", "CLASS=NAME") for one in options.rename)
    with Steps("reading slices") as steps:
        found = audit(options.paths, patient=options.patient, rename=rename, on_read=steps.advance)
    if options.output is not None:
        found.save(options.output)
    return found


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    """Both sides of `KEY=VALUE`."""
    key, _, value = text.partition("=")
    if not key or not value:
        raise InputError(f"{option} takes {form}, found {text!r}.")
    return key, value


def _deidentify(options: argparse.Namespace) -> Any:
    from monai_tumor.dicom import deidentify

    with Steps("de-identifying files") as steps:
        return deidentify(
            options.inputs,
            options.output,
            options=options.option,
            salt_file=options.salt,
            allow_burned_in=options.allow_burned_in,
            on_file=steps.advance,
        )


def _classify(options: argparse.Namespace) -> Any:
    from monai_tumor.services.classify import classify_all

    with Steps("classifying") as steps:
        return classify_all(
            options.inputs,
            folder=options.explain,
            method=options.method,
            bundle=options.bundle,
            weights=options.weights,
            device=options.device,
            gate=not options.no_gate,
            on_slice=steps.advance,
        )


def _compare(options: argparse.Namespace) -> Any:
    from monai_tumor.services.compare import compare

    return compare(options.a, options.b)


def _segment(options: argparse.Namespace) -> Any:
    from monai_tumor.services.opening import Preparation
    from monai_tumor.services.segment import Outputs, plan, segment_all

    roles = {role: getattr(options, role) for role in _ROLES}
    given = {role: path for role, path in roles.items() if path is not None}
    series = dict(_pair(one, "--series", "ROLE=UID") for one in options.series)
    sources = {"roles": given, "modalities": options.modalities, "series": series}
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


def _doctor(options: argparse.Namespace) -> Any:  # noqa: ARG001
    from monai_tumor.services.doctor import doctor

    return doctor()


def _report(options: argparse.Namespace) -> Any:
    from monai_tumor.services.report import report

    return report(
        options.study,
        options.mask,
        scheme=options.scheme,
        output=options.output,
        modalities=options.modalities,
    )


def _phantoms(options: argparse.Namespace) -> Any:
    from monai_tumor.services.phantoms import phantoms

    with Steps("making phantoms") as steps:
        return phantoms(
            options.output,
            count=options.count,
            layout=options.layout,
            seed=options.seed,
            size=options.size,
            spacing=options.spacing,
            contrast=options.contrast,
            on_written=steps.advance,
        )


def _bundles(options: argparse.Namespace) -> Any:
    from monai_tumor.bundles import catalogue
    from monai_tumor.paths import BUNDLES, bundle_dir

    if options.path:
        return Location(bundle_dir(options.bundle) if options.bundle else BUNDLES)
    return catalogue(options.bundle)


def _demo(options: argparse.Namespace) -> Any:
    from monai_tumor.services.demo import demo

    return demo(options.output, on_step=lambda line: print(line, file=sys.stderr, flush=True))


COMMANDS = {
    "inspect": Command(
        "Show what was understood of a folder of studies, and what is wrong with it.",
        _inspect_arguments,
        _inspect,
        left_out=lambda result: bool(result.errors),
    ),
    "split": Command(
        "Check studies and split them by subject into a datalist.",
        _split_arguments,
        _split,
        left_out=lambda result: not result.complete,
    ),
    "evaluate": Command(
        "Score label maps against the truth: Dice, HD95, lesion-wise Dice, volumes.",
        _evaluate_arguments,
        _evaluate,
        left_out=lambda result: bool(result.missing),
    ),
    "compare": Command(
        "Compare two models' scores (Wilcoxon, Holm), or two reports of a subject (changes).",
        _compare_arguments,
        _compare,
    ),
    "report": Command(
        "Measure a mask: volumes, RANO diameters, quality flags; report.html and report.json.",
        _report_arguments,
        _report,
    ),
    "convert": Command(
        "Convert DICOM series to NIfTI: rightly, or refused with the reason.",
        _convert_arguments,
        _convert,
        left_out=lambda result: bool(result.refused),
    ),
    "segment": Command(
        "Segment one study or a folder of thousands, on each study's own grid.",
        _segment_arguments,
        _segment,
        left_out=lambda result: not result.complete,
    ),
    "export": Command(
        "Write a mask as DICOM SEG, its measurements as SR, and key images.",
        _export_arguments,
        _export,
    ),
    "audit": Command(
        "Show what sets of 2D slices repeat, contradict and leak, within and between them.",
        _audit_arguments,
        _audit,
        left_out=lambda result: not result.clean,
    ),
    "classify": Command(
        "Classify 2D slices: class, calibrated probability, a gate for what is no such slice.",
        _classify_arguments,
        _classify,
        left_out=lambda result: not result.complete,
    ),
    "deidentify": Command(
        "De-identify DICOM files by the Basic Profile of PS3.15; headers, not pixels.",
        _deidentify_arguments,
        _deidentify,
        left_out=lambda result: bool(result.refused),
    ),
    "pacs": Command(
        "Talk to a PACS by DICOM or DICOMweb: echo, find, fetch, send, watch.",
        cli_pacs.add_arguments,
        cli_pacs.run,
        left_out=cli_pacs.left_out,
    ),
    "doctor": Command(
        "Say what of all that speeds things up or is optional this machine has.",
        _no_arguments,
        _doctor,
    ),
    "phantoms": Command("Make phantom studies with known truth.", _phantoms_arguments, _phantoms),
    "bundles": Command(
        "List the bundles: what they are, where their configs lie.", _bundles_arguments, _bundles
    ),
    "demo": Command(
        "Make a phantom study, segment it with the shipped weights, score and draw it.",
        _demo_arguments,
        _demo,
    ),
}


if __name__ == "__main__":
    sys.exit(main())
