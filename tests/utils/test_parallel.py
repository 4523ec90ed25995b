# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

from universal_model_components.utils.parallel import run_parallel, usable_cores


def square(call):
    return os.getpid(), call["number"] ** 2


def test_results_come_from_this_process_or_from_others():
    calls = [({"file": f"{number}.nii", "number": number},) for number in range(5)]
    here = list(run_parallel(square, calls, 0))
    there = list(run_parallel(square, calls, 2))
    assert {process for process, _ in here} == {os.getpid()}
    assert os.getpid() not in {process for process, _ in there}
    assert sorted(value for _, value in here) == sorted(value for _, value in there) == [0, 1, 4, 9, 16]


def test_usable_cores_are_those_that_this_process_may_run_on():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
