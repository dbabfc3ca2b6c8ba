"""The gate of shipped weights, measured as scripts/measure_gate.py does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bundle_runs import ROOT, environment

from monai_tumor.paths import BUNDLES

WEIGHTS = sorted((BUNDLES / "slice_classifier" / "models").glob("*[!_gate].safetensors"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda path: path.stem)
def test_refuses_photographs_noise_and_text(weights: Path, tmp_path: Path):
    command = [sys.executable, str(ROOT / "scripts" / "measure_gate.py"), "--weights", str(weights)]
    out = tmp_path / "gate.json"
    done = subprocess.run(
        [*command, "-o", str(out)], env=environment(), capture_output=True, text=True, timeout=850
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rates = {rate["kind"]: rate for rate in json.loads(out.read_text())["rates"]}
    assert rates["photographs and the like"]["count"] == 500
    assert rates["crops, noise and text together"]["rate"] >= 0.99
