"""Where bundles, configs and the schemas lie, in a checkout and in an installed wheel."""

from pathlib import Path

from monai_tumor.errors import BundleError

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "_shipped"
_ROOT = _SHIPPED if _SHIPPED.is_dir() else _PACKAGE.parent

BUNDLES = _ROOT / "bundles"
CONFIGS = _ROOT / "configs"
SCHEMA = _ROOT / "configs" / "schema" / "metadata.json"
REPORT_SCHEMA = _ROOT / "configs" / "schema" / "report.json"


def bundle_dir(name: str) -> Path:
    """The folder of the shipped bundle `name`, or of a bundle given by its path.

    Raises:
        BundleError: there is no such bundle; the message lists those there are.
    """
    for folder in (BUNDLES / name, Path(name)):
        if (folder / "configs" / "metadata.json").is_file():
            return folder.resolve()
    known = ", ".join(sorted(p.name for p in BUNDLES.glob("*") if (p / "configs").is_dir()))
    raise BundleError(
        f"No bundle {name!r}; shipped are {known}. Give one of these, or a bundle's folder."
    )


def weights_names(bundle: Path) -> tuple[str, ...]:
    """Names of the weights in a bundle's `models`, sorted: those with a record beside them.

    Args:
        bundle: its folder.
    """
    files = sorted((bundle / "models").glob("*.safetensors"))
    return tuple(file.stem for file in files if file.with_suffix(".json").is_file())


def config(name: str) -> Path:
    """The overlay `configs/<name>.yaml`.

    Raises:
        BundleError: there is no such overlay; the message lists those there are.
    """
    path = CONFIGS / f"{name}.yaml"
    if path.parent != CONFIGS or not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
        raise BundleError(f"No overlay {name!r}; there are {known}.")
    return path
