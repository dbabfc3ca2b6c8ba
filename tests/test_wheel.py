"""The wheel alone, away from the checkout, holds and finds bundles, configs and schema."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_CHECK = """
import json
from pathlib import Path
from monai_tumor import paths
from monai_tumor.bundles import bundle_names
from monai_tumor.networks import ensemble_of
network = ensemble_of(["brats_segresnet", "brats_unetr"], [32, 32, 32])
print(json.dumps({
    "root": str(Path(paths.__file__).parent),
    "bundles": bundle_names(),
    "schema": paths.SCHEMA.is_file(),
    "overlays": sorted(p.stem for p in paths.CONFIGS.glob("*.yaml")),
    "members": len(network.members),
}))
"""


@pytest.mark.slow
def test_wheel_stands_alone(tmp_path):
    def run(*command: str, **environment: str) -> str:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    run(*build, "--outdir", str(tmp_path / "dist"), str(ROOT))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert not [n for n in names if n.startswith(("tests/", "docs/", "scripts/"))]

    site = tmp_path / "site"
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(site),
        str(wheel),
    )
    # -P and PYTHONPATH: the wheel's package, whatever else is installed for development.
    out = run(sys.executable, "-W", "ignore", "-c", _CHECK, PYTHONPATH=str(site))
    found = json.loads(out.splitlines()[-1])
    assert found["root"] == str(site / "monai_tumor")
    assert found["bundles"] == [
        "brats_ensemble",
        "brats_segresnet",
        "brats_swin_unetr",
        "brats_unetr",
        "slice_classifier",
    ]
    assert found["schema"] is True
    assert found["members"] == 2
    assert found["overlays"] == sorted(p.stem for p in (ROOT / "configs").glob("*.yaml"))
