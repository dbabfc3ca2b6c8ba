"""The words that may stay in a description: what a scan is, and nothing about whom it shows."""

import re
from collections.abc import Collection

# Contrasts, sequences, planes, body parts and the words that `roles` reads, of several languages;
# the small words that turn a meaning round must not be missing.
_VOCABULARY = """
2d 3d 4d ac adc agent anat anatomical angio antes apres asl avant avec ax axial b0 b1000 b500 b800
bold brain bravo cbf cbv ce cerebral cerebro cerveau ciss con contrast contraste contrasto cor
coronal crane craneo ct cube dark darkfluid dce delayed der derived despues diff diffusion dir
dixon dopo dsc dti dwi dynamic echo encefalo ep2d epi eswan fa fast fat ffe fgre fiesta filter
fl2d fl3d flair flash fluid fmri fov fs fse fspgr gad gado gadolinium gd gradient gre haste head
hires hirn inversion ir irm iso isotropic kein keine km kontrast kopf loc localizer mag magnitude
map medic mip mit mp2rage mpr mprage mr mra mri mrt mtt nach nativ native navi no non norm not obl
oblique ohne op pd perf perfusion ph phase pilot plain post postcontrast pre precontrast prop
propeller recon recovery ref reference resolve sag sagittal sans scout se seg sem sense senza
series short sin space spc spgr spin spir spoiled stir sub substraction subtraction suppressed
survey swan swi t1 t1c t1ce t1gd t1map t1n t1w t2 t2f t2map t2star t2w testa tfe tfl3d thrive tirm
tof tra trace transverse trufi tse turbo upright vibe vista vol volume vor w/o weighted with
without wo zonder
"""
_WORDS = frozenset(_VOCABULARY.split())
_WORD = re.compile(r"w/o(?![a-z])|[a-z0-9]+", re.IGNORECASE | re.ASCII)


def known_words(text: str, names: Collection[str]) -> str:
    """The words of `text` that say what a scan is, in their order; names never, even if known."""
    words = [word for word in _WORD.findall(text) if word.lower() in _WORDS]
    return " ".join(word for word in words if word.lower() not in names)[:64]
