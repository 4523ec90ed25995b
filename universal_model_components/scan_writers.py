# SPDX-License-Identifier: Apache-2.0
"""Files that inference leaves for a scan: the restored volume and its pooled features, each written beside and renamed.

A file that cannot be written ends the run with one line; what was there before is kept.
"""

from __future__ import annotations

import gzip
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import FolderLayout, NibabelWriter
from monai.transforms import MapTransform

from .files import write_atomically

POOLING = "mean over the voxels of a window, then over windows"


class SafeNibabelWriter(NibabelWriter):
    """MONAI's writer of NIfTI files (`.nii.gz`), but the file is written beside its name and renamed.

    It never resamples, and so takes any affine; MONAI 1.6.1's own fails on some that permute axes, even with
    resample=False.

    Raises:
        SystemExit: with one line, when it cannot be written; `SaveImage` would bury an `OSError` under a page of text.
    """

    def set_metadata(self, meta_dict: Mapping | None, resample: bool = False, **options: Any) -> None:
        """Take the affine as it is."""
        self.affine = np.asarray((meta_dict or {}).get("affine", np.eye(4)), dtype=np.float64)

    def write(self, filename: Any, verbose: bool = False, **kwargs: Any) -> None:
        """Write the data array."""
        image = self.create_backend_obj(self.data_obj, affine=self.affine, dtype=self.output_dtype, **kwargs)
        for set_form in (image.set_sform, image.set_qform):
            set_form(self.affine, code=1)
        try:
            write_atomically(Path(filename), lambda path: _write_compressed(image, path))
        except OSError as error:
            raise SystemExit(f"inference: {error}") from error


def _write_compressed(image: Any, path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as stream:
        image.to_stream(stream)


class SaveFeaturesd(MapTransform):
    """Save pooled features of a scan as `<name>_features.npz`, with where they are from, beside its restored volume.

    Args:
        keys: of the features, tensors (C,), which are also their names in the file.
        meta_key: key of a `MetaTensor` of the same scan, whose metadata names the file.
        output_dir: folder to write into; sub-folders are kept.
        data_root_dir: folder that the scans' sub-folders are relative to.
        modality_key: key of the scan's modality; a sample without it, such as a server's, is passed on unwritten.
        allow_missing_keys: pass over keys that are not there.

    Raises:
        SystemExit: with one line, when the file cannot be written; what was there before is kept.
    """

    def __init__(
        self,
        keys: KeysCollection,
        meta_key: str,
        output_dir: str,
        data_root_dir: str = "",
        modality_key: str = "modality",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.meta_key, self.modality_key = meta_key, modality_key
        self.layout = FolderLayout(output_dir, "features", ".npz", makedirs=True, data_root_dir=data_root_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the file and return the data as they came."""
        result = dict(data)
        if self.modality_key not in result:
            return result
        source = str(result[self.meta_key].meta["filename_or_obj"])
        features = {str(key): result[key].float().cpu().numpy() for key in self.key_iterator(result)}
        origin = {"source": source, "modality": str(result[self.modality_key]), "pooling": POOLING}
        file = Path(self.layout.filename(subject=source))
        try:
            write_atomically(file, lambda path: _write_arrays(path, {**features, **origin}))
        except OSError as error:
            raise SystemExit(f"inference: {error}") from error
        return result


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
