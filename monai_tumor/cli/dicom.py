"""Commands on DICOM files."""

import argparse
from pathlib import Path
from typing import Any

from monai_tumor.cli.command import Command
from monai_tumor.cli.steps import Steps
from monai_tumor.labels import SCHEMES


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


COMMANDS = {
    "convert": Command(
        "Convert DICOM series to NIfTI: rightly, or refused with the reason.",
        _convert_arguments,
        _convert,
        left_out=lambda result: bool(result.refused),
    ),
    "export": Command(
        "Write a mask as DICOM SEG, its measurements as SR, and key images.",
        _export_arguments,
        _export,
    ),
    "deidentify": Command(
        "De-identify DICOM files by the Basic Profile of PS3.15; headers, not pixels.",
        _deidentify_arguments,
        _deidentify,
        left_out=lambda result: bool(result.refused),
    ),
}
