# SPDX-License-Identifier: Apache-2.0
"""The CSV file that inference of a classification writes: a LUNA16 submission, or one row per subject."""

from __future__ import annotations

import csv
import io
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..tasks.candidates import COLUMNS
from ..utils.files import write_text


class SavePredictionsd(MapTransform):
    """Add a scan's probabilities to a CSV file, which is rewritten atomically after each scan.

    With candidates it is a LUNA16 submission: seriesuid, coordX, coordY, coordZ, probability. Without, one row per
    scan: subject, probability. For a sample without a name, such as a server's, nothing is written.

    Args:
        keys: of probabilities, (2, N) for N candidates or (2,) for a scan; the positive class is the second.
        file: the CSV; rows of an earlier run are replaced.
        position_key: of the candidates' positions, mm, LPS; None for whole scans.
        name_key: of the series or subject.

    Raises:
        OSError: when the file cannot be written; an existing file is kept.
        FloatingPointError: when a probability is not finite.
    """

    def __init__(
        self, keys: KeysCollection, file: str, position_key: str | None = None, name_key: str = "case"
    ) -> None:
        super().__init__(keys)
        self.file, self.position_key, self.name_key = Path(file), position_key, name_key
        self.parts = [",".join([*COLUMNS, "probability"] if position_key else ["subject", "probability"]) + "\n"]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write, and return the data unchanged."""
        result = dict(data)
        if self.name_key not in result:
            return result
        name = str(result[self.name_key])
        for key in self.key_iterator(result):
            scores = torch.as_tensor(result[key])[1].reshape(-1).tolist()
            if not np.isfinite(scores).all():
                raise FloatingPointError(f"{name}: a probability is not finite: the weights are broken")
            positions = result[self.position_key].tolist() if self.position_key else [[]]
            text = io.StringIO()
            rows = [[name, *where, score] for where, score in zip(positions, scores, strict=True)]
            csv.writer(text, lineterminator="\n").writerows(rows)
            self.parts.append(text.getvalue())
        write_text(self.file, "".join(self.parts))
        return result
