"""Commands on 2D slices."""

import argparse
from pathlib import Path
from typing import Any

from monai_tumor.cli.command import Command, pairs
from monai_tumor.cli.steps import Steps


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


def _audit(options: argparse.Namespace) -> Any:
    from monai_tumor.data.slices import audit

    rename = pairs(options.rename, "--rename", "CLASS=NAME")
    with Steps("reading slices") as steps:
        found = audit(options.paths, patient=options.patient, rename=rename, on_read=steps.advance)
    if options.output is not None:
        found.save(options.output)
    return found


def _classify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="pictures, DICOM files, folders"
    )
    parser.add_argument("--bundle", default="slice_classifier", help="by name (slice_classifier)")
    parser.add_argument(
        "--weights",
        action="append",
        metavar="NAME|FILE",
        help="of the bundle, such as tanh_ct, or a file (its own model); repeated, an ensemble",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--no-gate", action="store_true", help="give a class to any picture")
    parser.add_argument(
        "--explain", type=Path, metavar="DIR", help="folder for pictures of where it looked"
    )
    parser.add_argument(
        "--method", choices=["gradcam", "gradcam++", "occlusion"], default="gradcam"
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


def _score_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="output_dir of a training that was evaluated on test and validation; several, an"
        " ensemble",
    )
    parser.add_argument("-o", "--output", type=Path, help="folder for scores.json, report.html")
    parser.add_argument(
        "--ensemble",
        choices=["mean", "accuracy", "stacking"],
        default="mean",
        help="how members are weighted, by validation alone (mean)",
    )
    parser.add_argument(
        "--threshold", type=float, help="of the second of two classes (chosen on validation)"
    )


def _score(options: argparse.Namespace) -> Any:
    from monai_tumor.services.evaluate_slices import evaluate_slices

    folders = [run / "evaluation" for run in options.runs]
    return evaluate_slices(
        [folder / "test.json" for folder in folders],
        [folder / "validation.json" for folder in folders],
        output=options.output,
        ensemble=options.ensemble,
        threshold=options.threshold,
    )


def _figures_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, metavar="DATASET|RUN", help="slices, or the output_dir of a training"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the PNG files")
    parser.add_argument(
        "--image",
        type=_number_or_file,
        metavar="N|FILE",
        help="whose feature maps to draw: the Nth of the test side, or a file (100, or the last)",
    )
    parser.add_argument(
        "--overlay",
        action="append",
        default=[],
        help="whose augmentation to show, such as presets/efficientnet_mri",
    )
    parser.add_argument("--seed", type=int, default=0)


def _number_or_file(text: str) -> int | Path:
    return int(text) if text.isdecimal() else Path(text)


def _figures(options: argparse.Namespace) -> Any:
    from monai_tumor.services.figures import figures

    return figures(
        options.source,
        options.output,
        image=options.image,
        overlays=options.overlay,
        seed=options.seed,
    )


COMMANDS = {
    "audit": Command(
        "Show what sets of 2D slices repeat, contradict and leak, within and between them.",
        _audit_arguments,
        _audit,
        left_out=lambda result: not result.clean,
    ),
    "score": Command(
        "Score a slice classifier or an ensemble: figures with intervals, calibration, leaks.",
        _score_arguments,
        _score,
    ),
    "figures": Command(
        "Draw a set of slices, or a training: samples, curves, feature maps, before and after.",
        _figures_arguments,
        _figures,
    ),
    "classify": Command(
        "Classify 2D slices: class, calibrated probability, a gate for what is no such slice.",
        _classify_arguments,
        _classify,
        left_out=lambda result: not result.complete,
    ),
}
