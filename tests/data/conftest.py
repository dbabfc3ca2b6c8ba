from pathlib import Path

import pytest
from small_studies import LPS, RAS, brats


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Six subjects in two layouts, one of them at two time points, and one without a label."""
    root = tmp_path / "data"
    for number in range(3):
        brats(root, f"BraTS2021_0000{number}", affine=LPS)
    for case in ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001", "BraTS-GLI-00006-000"):
        brats(root, case, labels=(1, 2, 3), affine=RAS)
    brats(root, "BraTS-GLI-00007-000", labels=None, affine=RAS)
    return root
