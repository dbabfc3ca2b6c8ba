"""The words that may stay in a description: what a scan is, and nothing about whom it shows."""

import re
from collections.abc import Collection

# Contrasts, sequences, planes, body parts, the words that `roles` reads, of several languages.
_VOCABULARY = """
2d 3d 4d ac adc agent anat anatomical angio antes apres asl avant avec ax axial b0 b1000 b500 b800
bold brain bravo ce cerebral cerebro cerveau ciss con contrast contraste contrasto cor coronal
crane craneo ct cube dark darkfluid delayed der derived despues diff diffusion dir dixon dopo dti
dwi dynamic echo encefalo ep2d epi eswan fa fast fat ffe fgre fiesta filter fl2d fl3d flair flash
fluid fmri fov fs fse fspgr gad gado gadolinium gd gradient gre haste head hires hirn inversion ir
irm iso isotropic kontrast kopf loc localizer mag magnitude medic mip mit mpr mprage mr mra mri
mrt nach nativ native navi no norm o obl oblique ohne pd perf perfusion ph phase post postcontrast
pre precontrast prop propeller recon recovery ref reference resolve sag sagittal sans scout se seg
sense senza series short sin space space3d spc spgr spin spir spoiled stir suppressed swi t1 t1c
t1ce t1gd t1n t1w t2 t2f t2star t2w testa tfe tirm tof tra trace transverse trufi tse turbo
upright vibe vista vol volume vor w weighted with without wo
"""
_WORDS = frozenset(_VOCABULARY.split())


def known_words(text: str, names: Collection[str]) -> str:
    """The words of `text` that say what a scan is, in their order; names never, even if known."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", text) if word.lower() in _WORDS]
    return " ".join(word for word in words if word.lower() not in names)[:64]
