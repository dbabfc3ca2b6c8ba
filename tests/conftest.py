"""What several tests share."""

import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch

# MONAI's own imports warn (deprecated modules, docstring escapes); ours must not.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import monai.bundle
    import monai.handlers  # noqa: F401
    from monai.networks.nets import SegResNet
from safetensors.torch import save_file

from monai_tumor.paths import BUNDLES

_BESIDE = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real studies: `MONAI_TUMOR_DATA`, or `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("MONAI_TUMOR_DATA", _BESIDE))
    if not (folder / "brats").is_dir():
        pytest.skip("real data absent: set MONAI_TUMOR_DATA to a folder that holds brats/")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """Nothing is kept in the cache of the user who runs the tests, or taken from it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monai_tumor.inference.backends.cache_folder", lambda: folder)
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory):
    """`brats_segresnet` with 8 filters, a window of 32 voxels and weights by chance."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    shutil.copytree(BUNDLES / "brats_segresnet", folder)
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["window"] = [32, 32, 32]
    metadata["network_def"]["init_filters"] = 8
    path.write_text(json.dumps(metadata))
    torch.manual_seed(1)
    network = SegResNet(
        spatial_dims=3,
        in_channels=4,
        out_channels=3,
        init_filters=8,
        blocks_down=(1, 2, 2, 4),
        blocks_up=(1, 1, 1),
    )
    for old in (folder / "models").glob("model.*"):
        old.unlink()
    save_file(network.state_dict(), folder / "models" / "model.safetensors")
    return folder
