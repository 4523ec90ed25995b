# SPDX-License-Identifier: Apache-2.0
"""What tests of the task bundles share: data in miniature and a trained model of each, made when first asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from task_bundles import SmallRuns, write_task_data


@pytest.fixture(scope="session")
def task_data(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a task's data; tests that change data copy it."""
    return functools.cache(lambda task: write_task_data(tmp_path_factory.mktemp("cases"), task))


@pytest.fixture(scope="session")
def trained_task(task_data, tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a task's run of two epochs."""

    @functools.cache
    def train(task: str) -> Path:
        runs = SmallRuns(task_data, train, tmp_path_factory.mktemp("trained"))
        runs.run(task, "train", epochs=2)
        return runs.root

    return train


@pytest.fixture
def small(task_data, trained_task, tmp_path) -> SmallRuns:
    """Small runs of the task bundles in this test's folder."""
    return SmallRuns(task_data, trained_task, tmp_path)
