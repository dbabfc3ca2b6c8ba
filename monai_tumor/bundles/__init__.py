"""Find, describe and run bundles: ours by name, others by folder.

A bundle is code: its configs call any function they name. Those shipped here are trusted; any
other folder runs only when the caller says that it may.
"""

from monai_tumor.bundles.describing import (
    BundleInfo,
    Catalogue,
    bundle_names,
    catalogue,
    describe,
)
from monai_tumor.bundles.files import Workflow, config_files
from monai_tumor.bundles.running import BundleRun, load, run

__all__ = [
    "BundleInfo",
    "BundleRun",
    "Catalogue",
    "Workflow",
    "bundle_names",
    "catalogue",
    "config_files",
    "describe",
    "load",
    "run",
]
