# SPDX-License-Identifier: Apache-2.0
"""A NIfTI writer whose files are written atomically."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import NibabelWriter

from ..utils.files import write_atomically
from .geometry import FORM_TOLERANCE, corner_distance


class AtomicNibabelWriter(NibabelWriter):
    """MONAI's writer of NIfTI files (`.nii.gz`), but the file is written to a temporary name and renamed.

    It never resamples, and so accepts any affine; MONAI 1.6.1's writer fails on some that permute axes, even with
    resample=False.

    Both forms of the header give its place; where the axes are sheared, as with a tilted gantry, only the sform can.

    Raises:
        OSError: when it cannot be written; an existing file is kept.
    """

    def set_metadata(self, meta_dict: Mapping | None, resample: bool = False, **options: Any) -> None:
        """Take the affine as it is."""
        self.affine = np.asarray((meta_dict or {}).get("affine", np.eye(4)), dtype=np.float64)

    def write(self, filename: Any, verbose: bool = False, **kwargs: Any) -> None:
        """Write the data array."""
        image = self.create_backend_obj(self.data_obj, affine=self.affine, dtype=self.output_dtype, **kwargs)
        image.set_sform(self.affine, code=1)
        image.set_qform(self.affine, code=1)
        if corner_distance(image.get_qform(), self.affine, image.shape[:3]) > FORM_TOLERANCE:
            image.set_qform(self.affine, code=0)  # it cannot be sheared: a viewer that prefers it would move the mask
        write_atomically(Path(filename), lambda path: _write_compressed(image, path))


def _write_compressed(image: Any, path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as stream:
        image.to_stream(stream)
