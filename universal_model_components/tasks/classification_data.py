# SPDX-License-Identifier: Apache-2.0
"""Samples of a classification task: one per candidate (LNC) or per scan (ADC), each a cube of a normalized scan.

An entry of the datalist with `candidates` gives a cube around each of them; one with a `label` gives one cube in the
middle of its scan. The augmentation of a cube is a function of the seed that the sampler provides with it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch import Tensor
from torch.utils.data import Dataset

from ..imaging.reading import read_scan
from ..imaging.scan_files import stem
from ..imaging.unusable import Unusable, refusal
from ..utils.settings import to_optional
from .scan_cache import ScanCache
from .segmentation_data import read_cases, take_label_fraction

logger = logging.getLogger(__name__)

CLASSES = 2


def read_classes(
    datalist: str,
    dataset_dir: str,
    split: str,
    fraction: float = 1.0,
    seed: int = 0,
    both: bool = True,
    optional: bool = False,
    check_files: bool = True,
) -> list[dict[str, Any]]:
    """Read one list of a datalist whose entries have a `label` (0 or 1) or `candidates` ([x, y, z, class], mm, LPS).

    Args:
        datalist: JSON.
        dataset_dir: folder that paths are relative to.
        split: "training", "validation" or "test".
        fraction: share of the cases to keep, of each class where entries have a label; see `task_data.label_fraction`.
        seed: of that choice.
        both: whether both classes are required: otherwise there is nothing to learn, and no AUC.
        optional: return nothing for a list that is missing or empty: a run without validation, which the log names.
        check_files: as for `read_cases`.

    Raises:
        ValueError: as `read_cases`, and for an entry without classes, or a missing class.
    """
    cases = read_cases(datalist, dataset_dir, split, keys=("image",), optional=optional, check_files=check_files)
    if not cases:
        logger.warning("datalist: %s has no %r cases: the last epoch's model is kept", datalist, split)
        return []
    for case in cases:
        check_classes(case, f"datalist: {datalist}: {case['case']!r} in {split!r}")
    strata: dict[Any, list[dict[str, Any]]] = {}
    for case in cases:
        strata.setdefault(case.get("label"), []).append(case)
    kept = {case["case"] for stratum in strata.values() for case in take_label_fraction(stratum, fraction, seed)}
    cases = [case for case in cases if case["case"] in kept]
    counts = [int((sample_labels(cases) == label).sum()) for label in range(CLASSES)]
    if both and 0 in counts:
        missing, name = counts.index(0), "positives" if counts[1] == 0 else "negatives"
        raise ValueError(
            f"datalist: {datalist}: zero {name} (class {missing}) among the {sum(counts)} samples of {split!r}: "
            "both classes are needed to train, and for an AUC: add some, or split otherwise"
        )
    return cases


def check_classes(case: Mapping[str, Any], where: str) -> None:
    """Check that an entry states the class of its samples.

    Raises:
        ValueError: when it does not; one line that begins with `where`.
    """
    if "candidates" in case:
        if not isinstance(case["candidates"], Sequence):
            raise ValueError(f"{where}: candidates is {case['candidates']!r}, expected a list of them")
        wrong = [one for one in case["candidates"] if not _is_candidate(one)]
        if wrong:
            raise ValueError(f"{where}: candidate {wrong[0]}, expected [x, y, z, class], mm and 0 or 1")
    elif case.get("label") not in (0, 1) or isinstance(case["label"], str):
        raise ValueError(f"{where}: label is {case.get('label')!r}, expected 0 or 1, or 'candidates'")


def _is_candidate(one: Any) -> bool:
    numbers = isinstance(one, Sequence) and all(isinstance(value, (int, float)) for value in one)
    return numbers and len(one) == 4 and all(map(math.isfinite, one)) and one[3] in (0, 1)


def complete(case: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a case of MONAI Label: add a name, and replace the path of a painted mask by a class.

    MONAI Label has only images and masks, so a scan's class is the largest value of its mask.

    Raises:
        ValueError: when that value is not a class.
    """
    case = {"case": Path(stem(str(case["image"]))).name, **case}
    if isinstance(case.get("label"), str):
        file = case["label"]
        case["label"] = float(read_scan(file)[0].max())
        check_classes(case, file)
        case["label"] = int(case["label"])
    return case


def sample_labels(cases: Sequence[Mapping[str, Any]]) -> Tensor:
    """Return the class of every sample, in the order of the cases.

    Shape:
        → (samples,), int64.
    """
    values = [one[3] if isinstance(one, Sequence) else one for case in cases for one in _samples(case)]
    return torch.tensor([int(value) for value in values], dtype=torch.int64)


def _samples(case: Mapping[str, Any]) -> Sequence[Any]:
    return case["candidates"] if "candidates" in case else [case["label"]]


class ClassificationDataset(Dataset):
    """Samples by random access; only the list of cases is held in memory.

    `dataset[i]` is sample i; in `dataset[i, seed]` the random transform is a function of the seed. Items:
    `image` float32 (1, H, W, D) in [0, 1], `label`, `case`, `group`, and of a candidate `seriesuid` and `position` (mm,
    LPS).

    Args:
        data: cases of `read_classes`; see `complete` for MONAI Label's.
        scans: the cache of their normalized scans.
        patch_size: voxels of a cube.
        transform: MONAI's `Compose` on the key `image`: augmentation, in training; None is none.
        negatives: number of negatives kept per positive, always the same ones; None keeps all.
        seed: of that choice.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        scans: ScanCache,
        patch_size: Sequence[int],
        transform: Compose | None = None,
        negatives: float | None = None,
        seed: int = 0,
    ) -> None:
        self.data, self.scans, self.transform = [complete(case) for case in data], scans, transform
        self.patch_size = [int(side) for side in patch_size]
        self.negatives, self.seed = to_optional(negatives), seed
        self.problems: list[Unusable] = []
        self._choose()

    def _choose(self) -> None:
        """Choose the samples among those of the cases."""
        labels = sample_labels(self.data)
        kept = torch.arange(len(labels))
        if self.negatives is not None:
            kept = thin_negatives(labels, float(self.negatives), self.seed)
        self.labels = labels[kept]
        self._kept = kept.numpy()
        self._ends = np.cumsum([len(_samples(case)) for case in self.data])

    def leave_out(self, problems: Sequence[Unusable]) -> None:
        """Leave out the samples of cases that cannot be used, and keep these cases in `problems`, for the report.

        Raises:
            ValueError: when no case is left; one line.
        """
        cases = {problem.case for problem in problems}
        if problems and cases.issuperset(case["case"] for case in self.data):
            raise refusal(problems, len(self.data))
        self.data = [case for case in self.data if case["case"] not in cases]
        self.problems += problems
        self._choose()

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: Any) -> dict[str, Any]:
        number, seed = index if isinstance(index, (tuple, list)) else (index, None)
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        sample = int(self._kept[number])
        place = int(np.searchsorted(self._ends, sample, side="right"))
        case = self.data[place]
        item = {"label": int(self.labels[number]), "case": case["case"], "group": str(case.get("group", case["case"]))}
        position = None
        if "candidates" in case:
            position = case["candidates"][sample - int(self._ends[place])][:3]
            item |= {"seriesuid": str(case.get("seriesuid", case["case"]))}
            item |= {"position": torch.tensor(position, dtype=torch.float64)}
        cube = self.scans.cube(case, position, self.patch_size)
        item["image"] = torch.from_numpy(cube).unsqueeze(0)
        if self.transform is None:
            return item
        if seed is not None:
            self.transform.set_random_state(seed=int(np.random.SeedSequence(int(seed)).generate_state(1)[0]))
        return self.transform(item)


def thin_negatives(labels: Tensor, negatives: float, seed: int = 0) -> Tensor:
    """Choose the samples to validate on: every positive, and `negatives` negatives for each of them.

    A random subset of the negatives does not change the AUC's expectation, and is far smaller than LUNA16's 400 to 1.

    Args:
        labels: of all samples.
        negatives: for each positive; at least one is kept where there is one.
        seed: of the choice.

    Shape:
        labels (N,) → (M,), indices in rising order.
    """
    positive, negative = (torch.nonzero(labels == label).flatten() for label in (1, 0))
    wanted = min(len(negative), max(1, round(negatives * len(positive))))
    chosen = torch.randperm(len(negative), generator=torch.Generator().manual_seed(seed))[:wanted]
    return torch.cat([positive, negative[chosen]]).sort().values
