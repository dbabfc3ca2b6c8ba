"""Heads of adult size whose truth is known, and the same heads moved, for several tests."""

from dataclasses import replace
from functools import cache

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monai_tumor.data.phantom import Phantom, make_phantom
from monai_tumor.imaging.volume import Volume
from monai_tumor.labels import MODALITIES, Modality


@cache
def head() -> Phantom:
    """A geometric brain with a tumour and a skull around it, of adult size, 3 mm."""
    return enlarged(make_phantom(3, size=(70, 80, 64), skull=True), 3.0)


@cache
def real_head() -> Phantom:
    """The same of MNI152 anatomy; takes some seconds."""
    return make_phantom(3, skull=True, spacing=3.0)


def enlarged(phantom: Phantom, times: float) -> Phantom:
    return replace(phantom, affine=np.diag([times, times, times, 1.0]) @ phantom.affine)


def volumes(phantom: Phantom, *, skull: bool = True) -> dict[Modality, Volume]:
    images = phantom.images if skull else phantom.images * phantom.brain
    return {m: Volume(v, phantom.affine) for m, v in zip(MODALITIES, images, strict=True)}


def grid(orientation: str, spacing: tuple[float, float, float]) -> tuple[np.ndarray, tuple]:
    """Affine and shape of a grid of about 220 mm each way about the world's origin."""
    shape = tuple(round(220 / edge) for edge in spacing)
    start = nib.orientations.axcodes2ornt(orientation)
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(start):
        affine[int(world), axis] = sign * spacing[axis]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[3, 3] = 1
    return affine, shape


def motion(turn_degrees: float, shift_mm: float, seed: int = 0) -> np.ndarray:
    """A rigid motion, [4, 4], about a random axis and in a random direction."""
    axis, way = np.random.default_rng(seed).standard_normal((2, 3))
    out = np.eye(4)
    turn = np.radians(turn_degrees) * axis / np.linalg.norm(axis)
    out[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    out[:3, 3] = shift_mm * way / np.linalg.norm(way)
    return out


def scanned(volume: Volume, moved_by: np.ndarray, affine: np.ndarray, shape: tuple) -> Volume:
    """The head of `volume` after a motion, as another scan on another grid shows it."""
    step = np.linalg.inv(moved_by @ volume.affine) @ affine
    voxels = ndimage.affine_transform(
        volume.voxels, step[:3, :3], step[:3, 3], output_shape=shape, order=1
    )
    return Volume(voxels, affine)


def surface(phantom: Phantom) -> np.ndarray:
    """Points on the brain's surface, mm, [4, n], homogeneous."""
    edge = phantom.brain & ~ndimage.binary_erosion(phantom.brain)
    at = np.argwhere(edge)[::20]
    return phantom.affine @ np.c_[at, np.ones(len(at))].T
