"""Panels written by a real evaluator, read back from the log."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from monai.transforms import AsDiscreted
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from monai_tumor.errors import TrainingError
from monai_tumor.imaging.drawing import COLOURS
from monai_tumor.labels import Region
from monai_tumor.training import panels
from monai_tumor.training.panels import TumourPanels, panel

GOLDEN = Path(__file__).parent / "golden" / "panel.png"
SPACING = (6.0, 6.0, 8.0)


def case(tumour_x=8):
    """Four modalities and regions TC, WT, ET on an LPS grid; the tumour lies right and anterior."""
    x, y, z = np.mgrid[:24, :30, :16]
    head = np.hypot(np.hypot((x - 12) / 11, (y - 15) / 14), (z - 8) / 7) < 1
    image = np.stack([head * level for level in (0.2, 0.5, 0.3, 0.9)]).astype(np.float32)
    image[1] *= 1 + (y < 15)  # brighter in front
    distance = np.sqrt((x - tumour_x) ** 2 + (y - 9) ** 2 + (z - 9) ** 2)
    label = np.stack([distance < 3, distance < 5, (distance < 3) & (distance > 1.5)])
    affine = torch.diag(torch.tensor([-SPACING[0], -SPACING[1], SPACING[2], 1.0]))
    return {
        "image": MetaTensor(torch.from_numpy(image), affine=affine),
        "label": MetaTensor(torch.from_numpy(label).float(), affine=affine),
    }


class Predictor(torch.nn.Module):
    """Predicts whole tumour where FLAIR is above a level; nothing else."""

    def forward(self, x):
        wt = (x[:, 3] > 0.5).float()
        return torch.stack([wt * 0, wt, wt * 0], 1)


def evaluator(handler, cases=5, **options):
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset([case(8 + 2 * i) for i in range(cases)]), batch_size=2),
        network=Predictor(),
        inferer=SimpleInferer(),
        postprocessing=AsDiscreted("pred", threshold=0.5)
        if options.get("decollate", True)
        else None,
        val_handlers=[handler],
        **options,
    )


def written(folder):
    log = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return {
        (tag, event.step): np.asarray(Image.open(BytesIO(event.encoded_image_string)))
        for tag in log.Tags()["images"]
        for event in log.Images(tag)
    }


def arrays(item, channel=1):
    image = item["image"]
    prediction = np.zeros((3, 24, 30, 16), bool)
    prediction[1] = image[3].numpy() > 0.5
    return (image[channel].numpy(), prediction, item["label"].numpy() > 0), image.affine.numpy()


def test_the_first_cases_are_written_at_the_epoch_of_the_trainer(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        handler = TumourPanels(writer, max_cases=3, slices=2, interval=2)
        engine = evaluator(handler)
        for epoch in (1, 2, 3, 4):
            engine.run(epoch)
    pictures = written(tmp_path)
    assert set(pictures) == {(f"panels/{i}", epoch) for i in range(3) for epoch in (2, 4)}
    for number in range(3):
        volumes, affine = arrays(case(8 + 2 * number))
        expected = panel(*volumes, affine=affine, slices=2)
        assert np.array_equal(pictures[f"panels/{number}", 4], expected)


def test_channel_tag_step_and_a_log_of_its_own(tmp_path):
    handler = TumourPanels(
        log_dir=tmp_path, channel=3, max_cases=9, slices=1, tag="val", global_step=lambda: 700
    )
    evaluator(handler, cases=2).run(5)
    pictures = written(tmp_path)
    assert set(pictures) == {("val/0", 700), ("val/1", 700)}
    volumes, affine = arrays(case(), channel=3)
    assert np.array_equal(pictures["val/0", 700], panel(*volumes, affine=affine, slices=1))


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(panels.idist, "get_rank", lambda: 1)
    evaluator(TumourPanels(log_dir=tmp_path)).run(1)
    assert list(tmp_path.iterdir()) == []


def test_errors_say_what_to_do(tmp_path):
    with pytest.raises(TrainingError, match="needs either a summary_writer or a log_dir"):
        TumourPanels()
    engine = evaluator(TumourPanels(log_dir=tmp_path), decollate=False)
    with pytest.raises(TrainingError, match="a list of cases, found dict; leave `decollate`"):
        engine.run(1)


def test_panel_shows_truth_right_and_anterior_in_the_third_column_only():
    volumes, affine = arrays(case())
    picture = panel(*volumes, affine=affine)
    assert picture.dtype == np.uint8
    first, second, third = np.array_split(picture[: (len(picture) - 28) // 3], 3, axis=1)

    def places(part, region):
        return np.nonzero(np.abs(part.astype(int) - COLOURS[region]).max(-1) < 60)

    assert len(places(first, Region.WT)[0]) == 0
    assert len(places(second, Region.WT)[0]) > 100
    assert len(places(second, Region.ET)[0]) == 0
    rows, columns = places(third, Region.ET)
    assert columns.mean() / third.shape[1] < 0.5  # x = 8 of 24 on an LPS grid: to the right
    assert rows.mean() / third.shape[0] < 0.5  # anterior


def test_slices_stay_the_same_while_the_prediction_changes():
    (image, prediction, truth), affine = arrays(case())
    one = panel(image, prediction, truth, affine=affine)
    other = panel(image, prediction & False, truth, affine=affine)
    width = one.shape[1] // 3
    assert np.array_equal(one[:-28, 2 * width :], other[:-28, 2 * width :])
    assert not np.array_equal(one, other)


def test_golden_picture(tmp_path):
    volumes, affine = arrays(case())
    picture = panel(*volumes, affine=affine, slices=2, panel_px=180)
    made = tmp_path / "panel.png"
    Image.fromarray(picture).save(made)
    golden = np.asarray(Image.open(GOLDEN).convert("RGB")).astype(int)
    assert golden.shape == picture.shape
    difference = np.abs(golden - picture).mean()
    assert difference < 1, f"look at {made}, and copy it over {GOLDEN.name} if good"
    assert np.abs(golden - picture[:, ::-1]).mean() > 5
