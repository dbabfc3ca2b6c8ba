"""How much fits into memory."""

import os

_STUDY_BYTES = 80 * 2**20  # a cropped brain at 1 mm: four channels float32, a label, overhead


def studies_in_memory(share: float = 0.5) -> int:
    """How many studies fit into `share` of the memory that is free now; at least 1.

    For `cache_num` of MONAI's `CacheDataset`: a data set larger than memory is then cached in part
    and read in part, where caching all of it would end in the process being killed.

    Args:
        share: of the free memory; training and validation each take theirs.
    """
    return max(1, int(share * free_memory() / _STUDY_BYTES))


def free_memory() -> int:
    """Bytes of memory that nobody uses now."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
