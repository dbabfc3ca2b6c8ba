"""What a run says of itself."""

import json
from pathlib import Path

from monai_tumor.services.segmentation_run import SegmentationRun, Written

VOLUMES = {"WT": 3.0, "TC": 2.0, "ET": 1.25}


def test_what_was_not_written_makes_a_run_incomplete():
    whole = Written(Path("out/a_seg.nii.gz"), VOLUMES)
    lacking = Written(Path("out/b_seg.nii.gz"), VOLUMES, not_written={"dicom": "no highdicom"})
    assert SegmentationRun(Path("out"), {"a": whole}, (), {}).complete
    run = SegmentationRun(Path("out"), {"a": whole, "b": lacking}, ("c",), {})
    assert not run.complete
    assert str(run).splitlines() == [
        "a: TC 2.0 mL, WT 3.0 mL, ET 1.2 mL",
        "  out/a_seg.nii.gz",
        "b: TC 2.0 mL, WT 3.0 mL, ET 1.2 mL",
        "  out/b_seg.nii.gz",
        "  no dicom was written: no highdicom",
        "2 segmented, 1 were there already: out",
    ]


def test_errors_and_defects_as_json():
    errors = {"a": "no t2f", "b": "ZeroDivisionError: division by zero"}
    run = SegmentationRun(Path("out"), {}, (), errors, ("b",))
    assert not run.complete
    shown = json.loads(json.dumps(run.as_dict()))
    assert (shown["errors"], shown["defects"]) == (errors, ["b"])
    assert str(run).endswith("0 segmented, 2 failed (errors.json): out")
