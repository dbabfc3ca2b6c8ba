"""Studies of brains with tumours whose truth is known, for the demo, tests and pretraining.

`make_phantom` makes one, `write_phantoms` a data set of them. A phantom looks enough like a glioma
case for code and networks to be tried on; it is no substitute for patients, and a figure measured
on phantoms says nothing about patients.
"""

from monai_tumor.data.phantom.contrast import Contrast, Scanner
from monai_tumor.data.phantom.dicom import write_dicom_phantom
from monai_tumor.data.phantom.phantom import Phantom, make_phantom
from monai_tumor.data.phantom.tumour import TumourOptions
from monai_tumor.data.phantom.write import LAYOUTS, write_phantoms

__all__ = [
    "LAYOUTS",
    "Contrast",
    "Phantom",
    "Scanner",
    "TumourOptions",
    "make_phantom",
    "write_dicom_phantom",
    "write_phantoms",
]
