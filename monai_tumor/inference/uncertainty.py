"""How sure a network is of what it found."""

import torch

from monai_tumor.labels import REGIONS, Region

_WHOLE = REGIONS.index(Region.WT)


def uncertainty(output: torch.Tensor) -> tuple[float | None, float | None]:
    """Mean entropy and mean disagreement over the voxels that are tumour; see `StudyReport`.

    Args:
        output: logits, [3 (TC, WT, ET), X, Y, Z]; and in three more channels the standard
            deviation between the members of an ensemble, where there is one.

    Returns:
        bits, 0 to 1; and 0 to 0.5. Both None where there is no tumour; the second also where
        there are no members.
    """
    count = len(REGIONS)
    tumour = output[_WHOLE] > 0
    if not tumour.any():
        return None, None
    p = torch.sigmoid(output[:count, tumour].float())
    bits = torch.special.entr(p) + torch.special.entr(1 - p)
    entropy = round(float(bits.mean()) / torch.log(torch.tensor(2.0)).item(), 4)
    between = output[count:, tumour]
    return entropy, round(float(between.float().mean()), 4) if len(between) else None
