"""The demo, from nothing to a scored segmentation."""

from functools import partial

import nibabel as nib
import numpy as np
import pytest

from monai_tumor.data.phantom import make_phantom
from monai_tumor.errors import BundleError
from monai_tumor.labels import Region
from monai_tumor.services import demo as module
from monai_tumor.services.demo import demo


@pytest.mark.slow
def test_demo_segments_a_tumour_that_the_weights_never_saw(tmp_path):
    steps = []
    result = demo(tmp_path / "demo", on_step=steps.append)
    assert np.mean(result.evaluation.table.values(Region.WT, "dice")) > 0.8
    label_map = nib.load(result.label_map)
    assert label_map.shape == (240, 240, 155)
    assert label_map.get_data_dtype() == np.uint8
    assert set(np.unique(np.asarray(label_map.dataobj))) <= {0, 1, 2, 3}
    assert result.picture.stat().st_size > 10_000
    text = str(result)
    assert "WT" in text
    assert str(result.picture) in text
    assert [step.split()[0].rstrip(":") for step in steps] == ["Making", "Segmenting", "Scoring"]


def test_a_segmentation_that_fails_is_said_in_one_line(tmp_path, monkeypatch):
    small = partial(make_phantom, size="small")
    monkeypatch.setattr(module, "make_phantom", lambda seed, size: small(seed))
    monkeypatch.setattr(module, "bundle_dir", lambda name: tmp_path / name)
    with pytest.raises(BundleError, match=r"^The segmentation failed; what went wrong stands"):
        demo(tmp_path / "out")
    assert len(list((tmp_path / "out" / "data").glob("BraTS*"))) == 1
