"""A bundle as others make them, and a study of which each channel is known."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch


def zoo_bundle(folder: Path) -> Path:
    """A bundle built like MONAI's brats_mri_segmentation, whose network shows its channels.

    Its output is TC where channel 0 is bright, WT where any channel is, ET where channel 3 is.
    """
    root = folder / "zoo"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    channels = {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}
    tensor = {
        "type": "image",
        "format": "magnitude",
        "num_channels": 4,
        "spatial_shape": ["8*n", "8*n", "8*n"],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": channels,
    }
    regions = {"0": "tumor core", "1": "whole tumor", "2": "enhancing tumor"}
    pred = tensor | {"num_channels": 3, "channel_def": regions}
    meta = {
        "version": "0.4.0",
        "task": "Multimodal Brain Tumor segmentation",
        "network_data_format": {"inputs": {"image": tensor}, "outputs": {"pred": pred}},
    }
    (root / "configs" / "metadata.json").write_text(json.dumps(meta))
    (root / "configs" / "inference.json").write_text(json.dumps(_zoo_inference()))
    network = torch.nn.Conv3d(4, 3, 1)
    with torch.no_grad():
        network.weight.zero_()
        network.weight[0, 0] = 1.0
        network.weight[1, 1:3] = 1.0
        network.weight[2, 3] = 1.0
        network.bias.fill_(-1.5)
    torch.save({"model": network.state_dict()}, root / "models" / "model.pt")
    return root


def _zoo_inference() -> dict:
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": "/workspace/zoo",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/workspace/data",
        "data_list_file_path": "$@bundle_root + '/configs/datalist.json'",
        "test_datalist": "$monai.data.load_decathlon_datalist(@data_list_file_path)",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "torch.nn.Conv3d",
            "in_channels": 4,
            "out_channels": 3,
            "kernel_size": 1,
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {
                    "_target_": "NormalizeIntensityd",
                    "keys": "image",
                    "nonzero": True,
                    "channel_wise": True,
                },
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@test_datalist", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 4,
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [240, 240, 160],
            "sw_batch_size": 1,
            "overlap": 0.5,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
                {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": True,
        },
        "run": ["$@evaluator.run()"],
    }


def zoo_study(folder: Path) -> tuple[dict[str, Path], np.ndarray]:
    """Four images, each bright in a box of its own; their boxes as a label map by modality."""
    boxes = np.zeros((20, 24, 16), np.uint8)
    affine = np.array([[0, -1.0, 0, 5], [1.0, 0, 0, -7], [0, 0, 1.0, 3], [0, 0, 0, 1]])
    files = {}
    noise = np.random.default_rng(0)
    for number, name in enumerate(("t1n", "t1c", "t2w", "t2f"), start=1):
        image = noise.uniform(90, 110, boxes.shape).astype(np.float32)
        image[[0, -1]] = 0
        box = (slice(4 * number - 2, 4 * number), slice(3, 9), slice(2 * number, 2 * number + 5))
        image[box] = 1000
        boxes[box] = number
        files[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(image, affine), files[name])
    return files, boxes
