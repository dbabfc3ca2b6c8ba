"""What several tests share."""

import os
import warnings
from pathlib import Path

import pytest

# MONAI's own imports warn (deprecated modules, docstring escapes); ours must not.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import monai.bundle
    import monai.handlers  # noqa: F401

_BESIDE = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real studies: `MONAI_TUMOR_DATA`, or `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("MONAI_TUMOR_DATA", _BESIDE))
    if not (folder / "brats").is_dir():
        pytest.skip("real data absent: set MONAI_TUMOR_DATA to a folder that holds brats/")
    return folder
