# SPDX-License-Identifier: Apache-2.0
"""The command `datalist`: one sub-command for each data set, `folder` for a user's scans, `check` for leakage."""

from __future__ import annotations

from ..datalists.leakage import check
from ..datalists.own_scans import folder
from ..datalists.public.adni import adni
from ..datalists.public.brats2018 import brats2018
from ..datalists.public.lits2017 import lits2017
from ..datalists.public.luna2016 import luna2016
from ..datalists.public.mmwhs import mmwhs
from ..datalists.public.msd_heart import msd_heart

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
