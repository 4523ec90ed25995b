# SPDX-License-Identifier: Apache-2.0
"""The command `datalist`: one sub-command for each data set, `folder` for anyone's scans, `check` for leakage."""

from __future__ import annotations

from .adni import adni
from .brats2018 import brats2018
from .leakage import check
from .lits2017 import lits2017
from .luna2016 import luna2016
from .mmwhs import mmwhs
from .msd_heart import msd_heart
from .own_scans import folder

DATALIST = {
    "luna2016": luna2016,
    "lits2017": lits2017,
    "brats2018": brats2018,
    "msd_heart": msd_heart,
    "mmwhs": mmwhs,
    "adni": adni,
    "folder": folder,
    "check": check,
}
