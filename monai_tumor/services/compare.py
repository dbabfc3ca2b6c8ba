"""Compare two results of one kind: two models' scores, or two reports of one subject."""

import json
from pathlib import Path

from monai_tumor.report.study_report import FORMAT
from monai_tumor.services import evaluate
from monai_tumor.services.evaluate import Comparison
from monai_tumor.services.report import Change, change


def compare(first: Path | str, second: Path | str) -> Comparison | Change:
    """What sets the second apart from the first.

    Args:
        first: `scores.json` of an evaluation, `report.json` of a study, or a folder that holds
            one of them.
        second: another of the same kind.

    Returns:
        Of scores, the tests between two models on the same cases; of reports, the changes from
        the first to the second time point, in numbers.

    Raises:
        InputError: a file is neither, the two are of different kinds, or do not fit together.
        SchemeError: the label schemes of two evaluations differ.
    """
    if _is_report(Path(first)):
        return change(first, second)
    return evaluate.compare(first, second)


def _is_report(path: Path) -> bool:
    if path.is_dir():
        return not (path / "scores.json").exists() and (path / "report.json").exists()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # what is wrong with it, the comparison of scores says
    return isinstance(content, dict) and content.get("format") == FORMAT
