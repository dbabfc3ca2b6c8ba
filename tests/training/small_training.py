"""A real training in small (8x8x8 voxels, five items), with the handlers of `train.yaml`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.handlers import EMAHandler
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler
from monai.inferers import SimpleInferer
from monai.transforms import (
    AsDiscreted,
    Compose,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
)
from torch import nn

from monai_tumor.training import (
    Attach,
    Checkpoints,
    ClipGradients,
    NonFiniteGuard,
    RegionMetrics,
    SeedEpochs,
)

ITEMS = 5
CPU = torch.device("cpu")


class Network(nn.Module):
    """Four channels to three, with batch statistics and dropout."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(4, width, 3, padding=1),
            nn.BatchNorm3d(width),
            nn.Dropout3d(0.3),
            nn.Conv3d(width, 3, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def items(count: int = ITEMS) -> list[dict[str, Any]]:
    """Images of noise, and three nested regions that can be seen in them."""
    made = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        label = torch.zeros(3, 8, 8, 8)
        label[:, 2:5, 2:6, 3:6] = 1
        label[2, 2:4] = 0
        image = torch.randn(4, 8, 8, 8, generator=generator) + 3 * label.sum(0)
        made.append({"image": MetaTensor(image), "label": MetaTensor(label), "study": f"P{number}"})
    return made


def evaluator(network: nn.Module, count: int = 2, **options: Any) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=CPU,
        val_data_loader=DataLoader(Dataset(items(count)), batch_size=1),
        network=network,
        inferer=SimpleInferer(),
        postprocessing=AsDiscreted("pred", threshold=0.0),
        key_val_metric={"Dice/mean": RegionMetrics()},
        **options,
    )


@dataclass
class Training:
    trainer: SupervisedTrainer
    network: Network
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    checkpoints: Checkpoints
    guard: NonFiniteGuard
    ema: EMAHandler | None

    def state(self) -> dict[str, Any]:
        """All that a training learns, by name."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{k}": v for k, v in state.items()}
        if self.ema is not None:
            tensors |= {f"ema.{k}": v for k, v in self.ema.ema_model.state_dict().items()}
        return {k: v.clone() for k, v in tensors.items()}

    @property
    def rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]


def training(
    folder: Path,
    *,
    max_epochs: int = 4,
    width: int = 4,
    num_workers: int = 0,
    accumulation_steps: int = 1,
    ema: bool = False,
    validate: int | None = 1,
    patience: int = 3,
    max_norm: float = 12.0,
    loss: Callable[..., torch.Tensor] | None = None,
    handlers: Sequence[Any] = (),
    decay: Callable[[int], float] | None = None,
    **checkpoint_options: Any,
) -> Training:
    """A training ready to run, `handlers` attached first, validated each `validate` epochs.

    `decay` maps an epoch to a share of the learning rate 0.01; a polynomial where not given.
    """
    torch.manual_seed(7)
    network = Network(width)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    schedule: Any = torch.optim.lr_scheduler.PolynomialLR(optimizer, max_epochs, power=0.9)
    if decay is not None:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, decay)
    average = EMAHandler(network, momentum=0.1) if ema else None
    judge = evaluator(network if average is None else average.ema_model) if validate else None
    dataset = Dataset(
        items(),
        Compose(
            [
                RandCropByPosNegLabeld(
                    ["image", "label"], label_key="label", spatial_size=(6, 6, 6), num_samples=2
                ),
                RandFlipd(["image", "label"], prob=0.5, spatial_axis=0),
                RandGaussianNoised("image", prob=0.5),
            ]
        ),
    )
    objects = {"network": network, "optimizer": optimizer, "lr_schedule": schedule}
    checkpoints = Checkpoints(
        folder,
        objects | ({} if average is None else {"ema": average.ema_model}),
        network if average is None else average.ema_model,
        evaluator=judge,
        **checkpoint_options,
    )
    guard = NonFiniteGuard(checkpoints, patience=patience)
    chain = [
        *handlers,
        SeedEpochs(3, dataset),
        ClipGradients(max_norm),
        guard,
        LrScheduleHandler(schedule, print_lr=False),
        *([ValidationHandler(validate, judge)] if judge else []),
        Attach(checkpoints),
        *([Attach(average)] if average else []),
    ]
    trainer = SupervisedTrainer(
        device=CPU,
        max_epochs=max_epochs,
        train_data_loader=DataLoader(dataset, batch_size=1, shuffle=True, num_workers=num_workers),
        network=network,
        optimizer=optimizer,
        loss_function=loss or nn.functional.mse_loss,
        inferer=SimpleInferer(),
        train_handlers=chain,
        accumulation_steps=accumulation_steps,
        decollate=False,
    )
    return Training(trainer, network, optimizer, schedule, checkpoints, guard, average)
