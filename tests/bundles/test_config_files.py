"""The config files of a workflow, in order."""

from monai_tumor import bundles
from monai_tumor.paths import CONFIGS


def test_evaluation_follows_the_overlays() -> None:
    files = bundles.config_files("brats_unetr", "evaluating", ["ema", CONFIGS / "msd.yaml"])
    assert [f.name for f in files] == ["train.yaml", "ema.yaml", "msd.yaml", "evaluate.yaml"]
    assert all(f.is_absolute() for f in files)


def test_our_inference_needs_no_overlay() -> None:
    files = bundles.config_files("brats_unetr", "inference")
    assert [f.name for f in files] == ["inference.yaml"]
