"""How much fits into memory."""

from pathlib import Path

_WHOLE = 1 << 40  # where nothing tells: more than is asked for
_STUDY_BYTES = 120 * 2**20  # a cropped brain at 1 mm: four channels and three regions, float32


def studies_in_memory(share: float = 0.5) -> int:
    """How many studies fit into `share` of the memory that is free now; at least 1.

    For `cache_num` of MONAI's `CacheDataset`: a data set larger than memory is then cached in part
    and read in part, where caching all of it would end in the process being killed.

    Args:
        share: of the free memory; training and validation each take theirs.
    """
    return max(1, int(share * free_memory() / _STUDY_BYTES))


def free_memory() -> int:
    """Bytes of memory that a process can have now; what only caches files counts as free.

    Of Linux, and in a container at most its limit; elsewhere more than anybody asks for.
    """
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(_available(), int(limit.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no container, or one without a limit
        return _available()


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        stated = dict(line.split(":", 1) for line in lines)
        return int(stated["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return _WHOLE
