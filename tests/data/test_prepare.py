import json
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from heads import grid, head, motion, scanned, volumes

from monai_tumor.data import Study, on_one_grid, prepare_study
from monai_tumor.data.prepared import MaskSource, Placing
from monai_tumor.data.study import study_from_files
from monai_tumor.errors import InputError, StudyError
from monai_tumor.imaging.registration import RigidTransform
from monai_tumor.imaging.volume import Volume
from monai_tumor.labels import MODALITIES, Modality
from monai_tumor.transforms import LoadStudyd, NormalizeBraind

T1N, T1C, T2W, T2F = MODALITIES


def written(folder: Path, images: dict[Modality, Volume]) -> Study:
    folder.mkdir()
    for name, volume in images.items():
        image = nib.Nifti1Image(np.asarray(volume.voxels, np.float32), volume.affine)
        image.set_qform(volume.affine, code=1)
        image.set_sform(volume.affine, code=2)
        nib.save(image, folder / f"P1-{name}.nii.gz")
    return study_from_files(**{str(n): folder / f"P1-{n}.nii.gz" for n in images})


def differing(skull: bool) -> dict[Modality, Volume]:
    """The head, with FLAIR as thick slices of a patient who moved, and T2 on another grid."""
    images = volumes(head(), skull=skull)
    images[T2F] = scanned(images[T2F], motion(6, 9), *grid("LPS", (2.0, 2.0, 5.0)))
    images[T2W] = scanned(images[T2W], np.eye(4), *grid("PIR", (2.5, 2.5, 3.0)))
    return images


def test_images_of_other_grids_come_to_the_reference(tmp_path):
    study = written(tmp_path / "in", differing(skull=False))
    work = tmp_path / "work"
    assert not on_one_grid(study)
    done = prepare_study(study, work)
    assert done.changed
    assert not done.skull
    assert done.mask is None
    placings = {image.modality: image.placing for image in done.images}
    assert placings[T1N] is placings[T1C] is Placing.UNCHANGED
    assert placings[T2W] is placings[T2F] is Placing.REGISTERED
    # As the bundles read it; each image fits the truth nearly as well as an unmoved copy does.
    item = NormalizeBraind(keys="image")(LoadStudyd(keys="image")(done.study.as_item()))
    assert item["image"].shape == (4, *head().brain.shape)
    brain = head().brain
    for index, name in enumerate(MODALITIES):
        truth = head().images[index][brain]
        assert np.corrcoef(np.asarray(item["image"][index])[brain], truth)[0, 1] > 0.9, name
    found = RigidTransform.load(work / f"{study.study}-t2f_to_t1c.json")
    assert np.abs(found.matrix @ motion(6, 9) - np.eye(4))[:3, :3].max() < 0.01
    assert json.loads((work / f"{study.study}-prepared.json").read_text()) == done.as_dict()
    assert "t2f registered: moved (" in str(done)


def test_the_geometry_of_the_reference_is_kept_with_its_codes(tmp_path):
    study = written(tmp_path / "in", differing(skull=False))
    done = prepare_study(study, tmp_path / "work", register=False)
    reference = nib.load(study.images[MODALITIES.index(T1C)]).header
    for path in done.study.images:
        header = nib.load(path).header
        for field in ("qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x", "pixdim"):
            assert np.array_equal(header[field], reference[field]), field
    assert not list((tmp_path / "work").glob(".tmp-*"))


def test_the_skull_comes_off(tmp_path):
    study = written(tmp_path / "in", differing(skull=True))
    done = prepare_study(study, tmp_path / "work")
    assert done.skull
    assert done.mask_source is MaskSource.STRIPPED
    mask = np.asarray(nib.load(done.mask).dataobj) > 0
    brain = head().brain
    assert 2 * (mask & brain).sum() / (mask.sum() + brain.sum()) > 0.9
    for path in done.study.images:
        assert not np.asarray(nib.load(path).dataobj)[~mask].any()
    assert any("stripped by a simple method" in line for line in done.warnings)


def test_an_image_of_a_part_of_the_head_does_not_spoil_the_strip(tmp_path):
    images = volumes(head())
    images[T2W] = Volume(images[T2W].voxels[:, :, :30], head().affine)
    done = prepare_study(written(tmp_path / "in", images), tmp_path / "work", register=False)
    mask = np.asarray(nib.load(done.mask).dataobj) > 0
    brain = head().brain
    assert mask[:, :, 30:].sum() > 0.8 * brain[:, :, 30:].sum()


def test_a_stripped_study_on_one_grid_is_left_alone(tmp_path):
    study = written(tmp_path / "in", volumes(head(), skull=False))
    done = prepare_study(study, tmp_path / "work")
    assert on_one_grid(study)
    assert done.study is study
    assert not done.changed
    assert not (tmp_path / "work").exists()
    assert done.warnings == ()


def test_skull_stripped_images_give_the_others_their_mask(tmp_path):
    images = volumes(head()) | {T1C: volumes(head(), skull=False)[T1C]}
    done = prepare_study(written(tmp_path / "in", images), tmp_path / "work")
    assert done.mask_source is MaskSource.OTHER_MODALITIES
    mask = np.asarray(nib.load(done.mask).dataobj) > 0
    assert (mask == head().brain).mean() > 0.995


def test_strip_never_leaves_the_skull_and_says_so(tmp_path):
    study = written(tmp_path / "in", volumes(head()))
    done = prepare_study(study, tmp_path / "work", strip="never")
    assert done.study is study
    assert any("The skull is still on" in line for line in done.warnings)


def test_a_given_mask_is_used_as_it_is(tmp_path):
    study = written(tmp_path / "in", volumes(head()))
    phantom = head()
    mask = np.zeros(phantom.brain.shape, np.uint8)
    mask[20:50, 20:60, 20:50] = 1
    turned = nib.Nifti1Image(mask, phantom.affine).as_reoriented([[2, 1], [0, -1], [1, 1]])
    nib.save(turned, tmp_path / "mask.nii.gz")
    done = prepare_study(study, tmp_path / "work", mask=tmp_path / "mask.nii.gz")
    assert done.mask_source is MaskSource.GIVEN
    assert np.array_equal(np.asarray(nib.load(done.mask).dataobj), mask)
    nib.save(nib.Nifti1Image(0 * mask, phantom.affine), tmp_path / "empty.nii.gz")
    with pytest.raises(StudyError, match="the given mask is empty"):
        prepare_study(study, tmp_path / "work", mask=tmp_path / "empty.nii.gz")


def test_registration_can_be_left_out(tmp_path):
    study = written(tmp_path / "in", differing(skull=False))
    done = prepare_study(study, tmp_path / "work", register=False)
    placings = {image.modality: image.placing for image in done.images}
    assert placings[T2F] is Placing.RESAMPLED
    assert not list((tmp_path / "work").glob("*_to_*"))
    t2w = np.asarray(nib.load(done.study.images[2]).dataobj)
    brain = head().brain
    assert np.corrcoef(t2w[brain], head().images[2][brain])[0, 1] > 0.9  # nobody moved there


def test_what_an_image_does_not_show_is_told(tmp_path):
    images = volumes(head(), skull=False)
    flair = images[T2F]
    images[T2F] = Volume(flair.voxels[:, :, :36], flair.affine)
    done = prepare_study(written(tmp_path / "in", images), tmp_path / "work", register=False)
    share = head().brain[:, :, :36].sum() / head().brain.sum()
    covered = next(image.covered for image in done.images if image.modality is T2F)
    assert covered == pytest.approx(share, abs=0.02)
    assert any("t2f shows only" in line for line in done.warnings)


def test_rounding_of_affines_is_made_good(tmp_path):
    images = volumes(head(), skull=False)
    shifted = images[T2F].affine.copy()
    shifted[0, 3] += 0.05
    images[T2F] = Volume(images[T2F].voxels, shifted)
    done = prepare_study(written(tmp_path / "in", images), tmp_path / "work")
    assert done.changed
    assert done.images[3].placing is Placing.ROUNDED
    loaded = LoadStudyd(keys="image")(done.study.as_item())
    assert np.array_equal(np.asarray(loaded["image"][3]), images[T2F].voxels)


def test_one_4d_file(tmp_path):
    phantom = head()
    path = tmp_path / "P1.nii.gz"
    nib.save(nib.Nifti1Image(np.moveaxis(phantom.images, 0, 3), phantom.affine), path)
    study = Study("P1", (path,), MODALITIES, None, None, "loose")
    done = prepare_study(study, tmp_path / "work")
    assert len(done.study.images) == 4
    mask = np.asarray(nib.load(done.mask).dataobj) > 0
    third = np.asarray(nib.load(done.study.images[2]).dataobj)
    assert np.array_equal(third[mask], phantom.images[2][mask])


def test_a_study_half_written_is_not_marked_as_done(tmp_path, monkeypatch):
    study = written(tmp_path / "in", differing(skull=False))
    work = tmp_path / "work"
    prepare_study(study, work, register=False)
    monkeypatch.setattr(nib, "save", partial(_full_disk, nib.save, []))
    with pytest.raises(InputError, match="No space left"):
        prepare_study(study, work, register=False)
    assert not list(work.glob("*-prepared.json"))
    assert not list(work.glob(".tmp-*"))


def _full_disk(save, calls, image, path):
    calls.append(path)
    if len(calls) > 2:
        raise OSError(28, "No space left on device")
    save(image, path)


def test_mistakes_are_told(tmp_path):
    images = volumes(head(), skull=False)
    study = written(tmp_path / "in", images)
    prepare = partial(prepare_study, folder=tmp_path / "work")
    three = Study("P1", study.images[:3], MODALITIES[:3], None, None, "loose")
    with pytest.raises(StudyError, match="has no t2f to be the reference; it has t1n, t1c, t2w"):
        prepare(three, reference="flair")
    with pytest.raises(InputError, match="Unknown strip 'yes'; choose one of auto"):
        prepare(study, strip="yes")
    far = images[T2F].affine.copy()
    far[:3, 3] += 1000
    images[T2F] = Volume(images[T2F].voxels, far)
    with pytest.raises(StudyError, match="t2f shows nothing of what the reference"):
        prepare(written(tmp_path / "far", images), register=False)
    noise = np.random.default_rng(0).normal(100, 10, (60, 60, 40)).astype(np.float32)
    images[T2F] = Volume(noise, np.diag([3.0, 3.0, 3.0, 1.0]))
    with pytest.raises(StudyError, match=r"t2f cannot be registered to t1c: .*turn registration"):
        prepare(written(tmp_path / "noise", images))
    images[T2F] = Volume(0 * noise, images[T2F].affine)
    with pytest.raises(StudyError, match="t2f to t1c: An image has hardly any values that differ"):
        prepare(written(tmp_path / "blank", images))
    images[T2F] = Volume(noise, images[T2F].affine)
    noise[3, 4, 5] = np.nan
    with pytest.raises(StudyError, match="1 voxels of t2f are not finite"):
        prepare(written(tmp_path / "nan", images))
    study.images[0].write_bytes(study.images[0].read_bytes()[:2000])
    with pytest.raises(StudyError, match=r"P1-t1n\.nii\.gz is not a readable NIfTI file"):
        prepare(study)
    study.images[0].unlink()
    with pytest.raises(StudyError, match=r"P1-t1n\.nii\.gz is not there"):
        on_one_grid(study)
