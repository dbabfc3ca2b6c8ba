"""The demo, from nothing to a scored segmentation."""

import nibabel as nib
import numpy as np
import pytest

from monai_tumor.data.phantom import make_phantom
from monai_tumor.errors import TrainingError
from monai_tumor.labels import Region
from monai_tumor.services import demo as module
from monai_tumor.services.demo import demo


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_demo_segments_a_study_it_never_saw(tmp_path):
    steps = []
    result = demo(tmp_path / "demo", on_step=steps.append)
    assert np.mean(result.evaluation.table.values(Region.WT, "dice")) > 0.5
    label_map = nib.load(result.label_map)
    assert label_map.get_data_dtype() == np.uint8
    assert set(np.unique(np.asarray(label_map.dataobj))) <= {0, 1, 2, 3}
    assert result.picture.stat().st_size > 10_000
    assert list((result.folder / "runs" / "brats_segresnet" / "tensorboard").iterdir())
    text = str(result)
    assert "WT" in text
    assert str(result.picture) in text
    assert [step.split()[0].rstrip(":") for step in steps] == [
        "Making",
        "Training",
        "Segmenting",
        "Scoring",
    ]


def test_counts_phantoms_whether_made_or_there(tmp_path, monkeypatch):
    monkeypatch.setattr(
        module, "make_phantom", lambda number, spacing: make_phantom(number, size="small")
    )
    monkeypatch.setattr(module, "_command", lambda *arguments, **options: ["python", "-m", "none"])
    seen = []
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"^Training failed; what went wrong stands above"):
            demo(tmp_path, on_phantom=lambda *step: seen.append(step))
    assert [step[1:] for step in seen] == 2 * [(number, 9) for number in range(1, 10)]
    assert len(list((tmp_path / "data" / "training").glob("BraTS*"))) == 8
    assert len(list((tmp_path / "data" / "unseen").glob("BraTS*"))) == 1
