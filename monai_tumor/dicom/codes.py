"""What tissues and regions are called in DICOM: codes, colours, the order of segments.

Codes of the segmentation property categories and types, DICOM PS3.16 CID 7150 and 7151. What the
standard has no code for (the overlapping regions of BraTS, a resection cavity) has one in a scheme
of our own, whose name begins with 99 as PS3.3 section 8.2 asks.
"""

from collections.abc import Mapping
from types import MappingProxyType

from pydicom.sr.coding import Code

from monai_tumor.labels import Region, Tissue

OWN_SCHEME = "99MONAITUMOR"
OWN_SCHEME_NAME = "monai_tumor: brain tumour regions"

ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
BRAIN = Code("12738006", "SCT", "Brain")
VOLUME = Code("118565006", "SCT", "Volume")
LONG_AXIS = Code("103339001", "SCT", "Long axis")
SHORT_AXIS = Code("103340004", "SCT", "Short axis")
MILLILITRE = Code("mL", "UCUM", "milliliter")
MILLIMETRE = Code("mm", "UCUM", "millimeter")
PROCEDURE = Code("363679005", "SCT", "Imaging procedure")

TISSUES: Mapping[Tissue, Code] = MappingProxyType(
    {
        Tissue.NECROSIS: Code("C81175", "NCIt", "Non-Enhancing Lesion"),
        Tissue.OEDEMA: Code("79654002", "SCT", "Edema"),
        Tissue.ENHANCING: Code("C113842", "NCIt", "Enhancing Lesion"),
        Tissue.CYST: Code("367643001", "SCT", "Cyst"),
        Tissue.CAVITY: Code("CAVITY", OWN_SCHEME, "Resection Cavity"),
    }
)
REGIONS: Mapping[Region, Code] = MappingProxyType(
    {
        Region.WT: Code("WT", OWN_SCHEME, "Whole tumour"),
        Region.TC: Code("TC", OWN_SCHEME, "Tumour core"),
        Region.ET: Code("ET", OWN_SCHEME, "Enhancing tumour"),
    }
)
# Okabe and Ito's palette, as on the pictures: RGB, 0 to 255.
COLOURS: Mapping[Tissue, tuple[int, int, int]] = MappingProxyType(
    {
        Tissue.NECROSIS: (0x56, 0xB4, 0xE9),
        Tissue.OEDEMA: (0x00, 0x9E, 0x73),
        Tissue.ENHANCING: (0xE6, 0x9F, 0x00),
        Tissue.CYST: (0xF0, 0xE4, 0x42),
        Tissue.CAVITY: (0xCC, 0x79, 0xA7),
    }
)
