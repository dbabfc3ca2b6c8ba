"""Phantoms: the parts against numbers worked out by hand, the whole against anatomy."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monai_tumor.data.phantom import Scanner, TumourOptions, anatomy, contrast, make_phantom, tumour
from monai_tumor.errors import DependencyError, InputError

T1N, T1C, T2W, T2F = range(4)
NECROSIS, OEDEMA, ENHANCING = 1, 2, 3  # brats2023, the default scheme
SMALL_ML = 48 * 56 * 40 / (160 * 192 * 160)  # volume of a doll's head against an adult's


@pytest.fixture(scope="module")
def brain():
    pytest.importorskip("nilearn", reason="the extra `phantom` is not installed")
    options = TumourOptions(foci=1, necrosis=True, enhancement=True)
    return make_phantom(5, tumour=options)


@pytest.fixture(scope="module")
def small():
    options = TumourOptions(foci=1, necrosis=True, enhancement=True)
    return make_phantom(5, size="small", tumour=options)


def check_tissue_order(phantom):
    """As a radiologist reads the contrasts; healthy brain is all that is not tumour."""
    label, images = phantom.label, phantom.images
    healthy, oedema, rim = (
        [float(np.median(image[mask])) for image in images]
        for mask in (phantom.brain & (label == 0), label == OEDEMA, label == ENHANCING)
    )
    assert oedema[T2F] > 1.2 * healthy[T2F]
    assert oedema[T2W] > 1.2 * healthy[T2W]
    white = np.percentile(images[T1N][phantom.brain & (label == 0)], 75)  # its median, about
    assert oedema[T1N] < 0.95 * white
    assert rim[T1C] > 1.2 * healthy[T1C]
    assert rim[T1C] / healthy[T1C] > 1.3 * rim[T1N] / healthy[T1N]
    necrosis = float(np.median(images[T1C][label == NECROSIS]))
    assert necrosis < 0.9 * healthy[T1C]


def check_nesting(phantom):
    label = phantom.label
    around = {
        value: ndimage.binary_dilation(label == value) & (label != value)
        for value in (NECROSIS, ENHANCING)
    }
    assert (label[around[NECROSIS]] == ENHANCING).mean() > 0.95  # the rim is round the core
    assert not (label[~phantom.brain]).any()
    core = ndimage.binary_fill_holes(np.isin(label, (NECROSIS, ENHANCING)))
    assert (label[core] == OEDEMA).sum() < 0.02 * core.sum()  # no oedema inside the core
    whole, pieces = ndimage.label(label > 0, np.ones((3, 3, 3)))
    assert pieces == 1
    assert whole.any()


@pytest.mark.parametrize("which", ["small", "brain"])
def test_looks_like_a_glioma(which, request):
    phantom = request.getfixturevalue(which)
    check_tissue_order(phantom)
    check_nesting(phantom)


def test_brain_is_adult_sized_and_so_is_the_tumour(brain):
    assert brain.images.shape == (4, 160, 192, 160)
    assert brain.images.dtype == np.float32
    assert brain.label.dtype == np.uint8
    assert 1100 < brain.brain.sum() / 1000 < 1900
    volumes = brain.volumes()
    assert 20 <= volumes["WT"] <= 150
    assert volumes["WT"] == pytest.approx((brain.label > 0).sum() / 1000, abs=1e-3)
    assert volumes["ET"] < volumes["TC"] < volumes["WT"]
    # Healthy tissue by its own contrast: white matter leads on T1, CSF on T2, none on FLAIR.
    t1, t2, flair = (brain.images[k][brain.brain & (brain.label == 0)] for k in (T1N, T2W, T2F))
    csf = t2 > np.percentile(t2, 96)
    assert np.median(t1[csf]) < 0.6 * np.median(t1)
    assert np.median(flair[csf]) < 0.6 * np.median(flair)


def test_brain_is_not_cut_by_the_grid(brain):
    for axis in range(3):
        ends = np.moveaxis(brain.brain, axis, 0)[[0, -1]]
        assert not ends.any()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_any_seed(seed):
    phantom = make_phantom(seed, size="small")
    assert np.isfinite(phantom.images).all()
    assert not phantom.images[:, ~phantom.brain].any()
    assert 0 < phantom.images.max() <= 32767
    assert set(np.unique(phantom.label)) <= {0, 1, 2, 3}
    assert 19 <= phantom.volumes()["WT"] / SMALL_ML <= 151
    assert bool((phantom.label == ENHANCING).any()) == phantom.parameters["enhancement"]


def test_same_seed_same_voxels_and_the_anatomy_does_not_hang_on_the_contrast(small):
    options = TumourOptions(foci=1, necrosis=True, enhancement=True)
    again = make_phantom(5, size="small", tumour=options)
    assert np.array_equal(again.images, small.images)
    assert np.array_equal(again.label, small.label)
    other = make_phantom(5, size="small", tumour=options, contrast="random")
    assert np.array_equal(other.label, small.label)
    assert not np.array_equal(other.images, small.images)
    assert not np.array_equal(make_phantom(6, size="small").label, small.label)


@pytest.mark.parametrize("shape", [(24, 24, 24), (24, 90, 31), (64, 64, 64)])
def test_any_shape(shape):
    for skull in (False, True):
        phantom = make_phantom(1, size=shape, tumour=TumourOptions(foci=2), skull=skull)
        assert phantom.images.shape == (4, *shape)
        assert (phantom.label == ENHANCING).any() or not phantom.parameters["enhancement"]


def test_negative_case():
    phantom = make_phantom(3, size="small", tumour=False)
    assert not phantom.label.any()
    assert phantom.volumes() == {"TC": 0, "WT": 0, "ET": 0}
    assert phantom.parameters["foci"] == 0
    bright = phantom.images[T2F] > 1.5 * np.median(phantom.images[T2F][phantom.brain])
    assert ndimage.binary_opening(bright).sum() == 0  # nothing that looks like oedema


@pytest.mark.parametrize(
    ("options", "absent", "present"),
    [
        (TumourOptions(necrosis=False, enhancement=True), NECROSIS, ENHANCING),
        (TumourOptions(necrosis=True, enhancement=False), ENHANCING, NECROSIS),
    ],
)
def test_tumours_without_necrosis_or_enhancement(options, absent, present):
    label = make_phantom(2, size="small", tumour=options).label
    assert not (label == absent).any()
    assert (label == present).any()


def test_two_foci():
    found = [
        ndimage.label(np.isin(make_phantom(s, size="small", tumour=TumourOptions(2)).label, (1, 3)))
        for s in range(4)
    ]
    assert max(count for _, count in found) == 2


def test_random_contrast_keeps_the_order_of_tumour_when_asked():
    options = TumourOptions(foci=1, necrosis=True, enhancement=True)
    for seed in range(5):
        phantom = make_phantom(seed, size="small", tumour=options, contrast="random_ordered")
        wet, rim = phantom.label == OEDEMA, phantom.label == ENHANCING
        deep = phantom.brain & (phantom.label == 0)
        deep &= ndimage.binary_erosion(phantom.brain, iterations=5)
        assert np.median(phantom.images[T2F][wet]) > np.median(phantom.images[T2F][deep])
        assert np.median(phantom.images[T1C][rim]) > np.median(phantom.images[T1C][deep])


@pytest.mark.parametrize("kind", ["clinical", "random_ordered"])
def test_intensities_keep_the_clinical_order(kind):
    for seed in range(50):
        means = contrast.intensities(kind, True, np.random.default_rng(seed))
        for row in (T2W, T2F):
            assert means[row, contrast.OEDEMA] > 1.2 * means[row, [contrast.GM, contrast.WM]].max()
        others = [contrast.CSF, contrast.GM, contrast.WM, contrast.CORE, contrast.OEDEMA]
        assert means[T1C, contrast.ENHANCING] > 1.2 * means[T1C, others].max()


def test_thick_slices():
    fine = make_phantom(5, size="small", scanner=Scanner(bias=0, noise=0.01, thick=1))
    thick = make_phantom(
        5, size="small", spacing=(1, 1, 4), scanner=Scanner(bias=0, noise=0.01, thick=1)
    )
    assert thick.images.shape == (4, 48, 56, 10)
    assert thick.spacing == (1, 1, 4)
    assert thick.volumes()["WT"] == pytest.approx(fine.volumes()["WT"], rel=0.2)
    # The same place in the world, to half a millimetre.
    centres = [
        p.affine[:3, :3] @ np.array(ndimage.center_of_mass(p.label > 0)) + p.affine[:3, 3]
        for p in (fine, thick)
    ]
    assert np.abs(centres[0] - centres[1]).max() < 0.5
    # The first slice lies from -20 to -16 mm, so its middle is at -18 mm.
    assert thick.affine[2, 3] == -18
    assert fine.affine[2, 3] == -19.5


def test_skull():
    phantom = make_phantom(1, size=(60, 64, 56), skull=True)
    outside = ndimage.distance_transform_edt(~phantom.brain)
    head = phantom.images[T1N] > 0.3 * np.median(phantom.images[T1N][phantom.brain])
    assert 0.2 < head[(outside > 0) & (outside < 6)].mean() < 0.95  # scalp bright, skull dark
    assert not head[outside > 9].any()
    assert not phantom.label[~phantom.brain].any()
    bare = make_phantom(1, size=(60, 64, 56))
    assert not bare.images[:, ~bare.brain].any()


def test_average_by_hand():
    row = np.array([1, 3, 5, 7], np.float32).reshape(4, 1, 1)
    assert contrast.average(row, [2, 1, 1]).ravel().tolist() == [2, 6]
    # Boxes of one voxel and a half: (1 + 3/2) / 1.5 and (3/2 + 5) / 1.5; the rest is too short.
    assert contrast.average(row, [1.5, 1, 1]).ravel() == pytest.approx([5 / 3, 13 / 3])
    assert contrast.average(row, [0.5, 1, 1]).ravel().tolist() == [1, 1, 3, 3, 5, 5, 7, 7]


def test_rician_noise_of_nothing_is_rayleigh():
    noise = contrast.rician(np.zeros((50, 50, 50), np.float32), 2.0, np.random.default_rng(0))
    assert noise.mean() == pytest.approx(2 * np.sqrt(np.pi / 2), rel=0.01)
    assert noise.var() == pytest.approx((2 - np.pi / 2) * 4, rel=0.02)


def test_smooth_noise_has_unit_variance_and_is_smooth():
    noise = anatomy.smooth_noise(np.random.default_rng(0), (90, 100, 80), 4.0)
    assert noise.shape == (90, 100, 80)
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert np.abs(np.diff(noise, axis=0)).max() < 1.5


def tract(rod):
    """Grey matter, perhaps with a rod of white matter along x, and a wall of CSF at y >= 44."""
    shares = np.zeros((3, 96, 56, 48), np.float32)
    shares[1] = 1
    if rod:
        shares[2, :, 20:28, 20:28] = 1
        shares[1, :, 20:28, 20:28] = 0
    shares[:, :, 44:] = 0
    shares[0, :, 44:] = 1
    return shares


def test_oedema_follows_white_matter_and_csf_stops_it():
    place = np.array([[48, 24, 24]])
    plan = tumour.Plan([anatomy.Mass(place[0], 6.0, 0.0)], 0.9, 6.0, True, True)
    reach = {}
    for rod in (True, False):
        shares = tract(rod)
        core, whole, enhancing = tumour.grow(shares, place, plan, 1.0, np.random.default_rng(1))
        assert core.sum() == pytest.approx(900, rel=0.1)
        assert whole.sum() == pytest.approx(6900, rel=0.1)
        assert not (whole & (shares[0] > 0.5)).any()
        assert not (enhancing & ~core).any()
        assert (core & ~enhancing).any()
        spots = np.argwhere(whole)
        reach[rod] = np.ptp(spots[:, 0]) / np.ptp(spots[:, 2])
    assert reach[True] > 2 * reach[False]


def test_real_anatomy_without_nilearn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn", None)
    monkeypatch.setattr(anatomy, "mni152", anatomy.mni152.__wrapped__)
    with pytest.raises(DependencyError, match=r'pip install "monai-tumor\[phantom\]"'):
        make_phantom(0)
    assert make_phantom(0, size="small").label.any()  # which never asks for it


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"size": "huge"},
            "Unknown phantom size 'huge'; choose one of brain, brats, sm",
        ),
        ({"size": (48, 8, 48)}, r"shape \(48, 8, 48\); .* at least 24"),
        ({"spacing": 0}, "spacing of 0; give one number or three"),
        ({"spacing": (1, 1)}, r"spacing of \(1, 1\)"),
        ({"contrast": "t3"}, "Unknown phantom contrast 't3'; choose one of clinical"),
        ({"tumour": TumourOptions(foci=0)}, "cannot have 0 foci; give 1 to 4"),
        ({"seed": -1}, "cannot have the seed -1; give 0 or more"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        make_phantom(**({"seed": 0, "size": "small"} | arguments))


def test_description(small):
    described = json.loads(json.dumps(small.as_dict()))
    assert described["shape"] == [48, 56, 40]
    assert described["seed"] == 5
    assert described["label_scheme"] == "brats2023"
    assert str(small).startswith("Phantom00005: 48 x 56 x 40 voxels of 1 x 1 x 1 mm; TC ")
