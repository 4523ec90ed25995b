# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from universal_model_components.evaluation.table_one import TABLE_ONE, Row


def test_a_row_holds_what_the_paper_says_of_a_set():
    assert all(isinstance(row, Row) for row in TABLE_ONE.values())
    assert sum(row.cases for row in TABLE_ONE.values() if row.modality == "CT") == 623 + 111
    assert all(len(row.shape) == len(row.spacing) == len(row.cubes) == 3 for row in TABLE_ONE.values())


def test_the_papers_numbers_follow_from_cases_and_cubes_per_volume():
    per_volume = {name: [count / row.cases for count in row.cubes] for name, row in TABLE_ONE.items()}
    assert per_volume["luna2016"] == per_volume["brats2018"] == [32, 16, 16]
    assert per_volume["lits2017"] == per_volume["msd_heart"] == [64, 32, 32]
