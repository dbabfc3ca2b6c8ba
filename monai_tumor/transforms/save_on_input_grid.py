"""Write a result onto the grid of the image it belongs to."""

from collections.abc import Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_numpy

from monai_tumor.errors import StudyError
from monai_tumor.files import safe_name, write_atomically, write_json
from monai_tumor.imaging import nifti
from monai_tumor.provenance import require_replaceable


class SaveOnInputGridd(MapTransform):
    """Write volumes [1, X, Y, Z] as `<study>_<postfix>.nii.gz`, and a JSON beside each.

    Grid, affine, orientation and both form codes are those of the input file, byte for byte. The
    JSON names the label scheme, the input and `provenance`. Both files are written atomically, the
    JSON first. Two items of the same name in one run get different files.

    `<study>_seg.nii.gz` is also the name of BraTS 2021 truth. A file is therefore replaced only
    where the JSON beside it says that it is a result, and nothing is written beside an input.

    Args:
        keys: label maps or other volumes, brought back to the input's grid.
        output_dir: made if need be.
        postfix: of the file name.
        dtype: of the voxels.
        provenance: what made the volume (`monai_tumor.provenance.record`).

    Raises:
        StudyError: the volume's grid is not the input's, or it would go beside the input.
        InputError: it would replace a file that is no result.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        postfix: str = "seg",
        dtype: str = "uint8",
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.postfix = postfix
        self.dtype = np.dtype(dtype)
        self.provenance = dict(provenance or {})
        self._used: set[str] = set()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item, with the written path under "<key>_path"."""
        item = dict(data)
        for key in self.key_iterator(item):
            volume = item[key]
            reference = Path(volume.meta["filename_or_obj"])
            array = convert_to_numpy(volume, dtype=self.dtype)[0]
            name = self._name(item, reference)
            path = self.output_dir / f"{name}_{self.postfix}.nii.gz"
            beside = self.output_dir / f"{name}_{self.postfix}.json"
            _require_apart(path, reference)
            require_replaceable(path, beside)
            image = nifti.on_grid_of(reference, array)
            write_json(
                beside,
                {
                    "study": item.get("study", name),
                    "label_scheme": item.get(f"{key}_scheme"),
                    "input": reference.name,
                    **self.provenance,
                },
            )
            write_atomically(path, partial(nifti.save, image))
            item[f"{key}_path"] = str(path)
        return item

    def _name(self, item: Mapping[Hashable, Any], reference: Path) -> str:
        stem = safe_name(
            str(item.get("study") or item.get("subject") or reference.name.split(".")[0])
        )
        name, number = stem, 1
        while name in self._used:
            number += 1
            name = f"{stem}_{number}"
        self._used.add(name)
        return name


def _require_apart(path: Path, reference: Path) -> None:
    """Refuse to write among the inputs."""
    if path.parent.resolve() == reference.parent.resolve():
        raise StudyError(
            f"Results would go to {path.parent}, beside the input {reference.name}; "
            "choose another folder with --output_dir."
        )
