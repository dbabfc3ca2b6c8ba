"""Commands on studies and label maps: what is there, its split, its scores, its measures."""

import argparse
from pathlib import Path
from typing import Any

from monai_tumor.cli.command import Command, path_argument, scheme_argument
from monai_tumor.cli.steps import Steps
from monai_tumor.labels import SCHEMES


def _inspect_arguments(parser: argparse.ArgumentParser) -> None:
    path_argument(parser)
    scheme_argument(parser)
    parser.add_argument("--modalities", help="channel order of 4D files, such as t2f,t1n,t1c,t2w")
    parser.add_argument("--voxels", action="store_true", help="read every voxel, not headers alone")


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


def _split_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of studies")
    parser.add_argument("-o", "--output", type=Path, required=True, help="datalist JSON to write")
    scheme_argument(parser)
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


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "prediction", type=Path, metavar="PRED", help="label map, or folder of them"
    )
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="label map, or folder of them")
    scheme_argument(parser, required=True)
    parser.add_argument(
        "--prediction-scheme", choices=list(SCHEMES), help="if the predictions' differs"
    )
    parser.add_argument("-o", "--output", type=Path, help="folder for scores.json, .csv and .md")
    parser.add_argument(
        "--allow-missing", action="store_true", help="score what is there, list what is not"
    )


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


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="scores.json or report.json, the first")
    parser.add_argument("b", type=Path, metavar="B", help="another of the same kind, the second")


def _compare(options: argparse.Namespace) -> Any:
    from monai_tumor.services.compare import compare

    return compare(options.a, options.b)


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, metavar="STUDY", help="study folder or 4D file")
    parser.add_argument("mask", type=Path, metavar="MASK", help="label map on the study's grid")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    scheme_argument(parser, required=True)
    parser.add_argument("--modalities", help="channel order of a 4D file, such as t2f,t1n,t1c,t2w")


def _report(options: argparse.Namespace) -> Any:
    from monai_tumor.services.report import report

    return report(
        options.study,
        options.mask,
        scheme=options.scheme,
        output=options.output,
        modalities=options.modalities,
    )


def _phantoms_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument(
        "--layout", choices=["msd", "brats2021", "brats2023", "dicom"], default="brats2023"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", choices=["brain", "brats", "small"], default="brain")
    parser.add_argument("--spacing", type=float, default=1.0, help="voxel size in mm (1)")
    parser.add_argument("--contrast", choices=["clinical", "random"], default="clinical")


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
    "phantoms": Command("Make phantom studies with known truth.", _phantoms_arguments, _phantoms),
}
