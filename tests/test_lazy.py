"""Public names that are loaded when they are first used."""

import subprocess
import sys
from pathlib import Path

import pytest

from monai_tumor import lazy, paths
from monai_tumor.paths import bundle_dir

ROOT = Path(paths.__file__).parents[1]


def test_a_name_comes_from_its_module():
    find = lazy.names("monai_tumor", {"bundle_dir": "paths"})
    assert find("bundle_dir") is bundle_dir
    with pytest.raises(AttributeError, match=r"^module 'monai_tumor' has no attribute 'bundles'$"):
        find("bundles")


@pytest.mark.parametrize("room", ["inference", "networks", "training", "transforms"])
def test_a_room_costs_nothing_until_it_is_used(room):
    code = (
        f"import sys, monai_tumor.{room}\nprint({{'torch', 'monai', 'numpy'}} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "set()"
