# SPDX-License-Identifier: Apache-2.0
"""Which error is the fault of a case's files, and the one line about many of them."""

from __future__ import annotations

import logging

import pytest
from scan_files import body, write_scan

from universal_model_components.imaging.errors import ScanError
from universal_model_components.imaging.unusable import NAMED, Unusable, file_problem, refusal


def wrapped(cause: Exception) -> RuntimeError:
    """An error as MONAI's transforms raise it."""
    error = RuntimeError("applying transform <…>")
    error.__cause__ = cause
    return error


def test_the_file_that_is_at_fault_is_named_and_a_bug_is_not(tmp_path):
    good, bad = write_scan(tmp_path / "good.nii.gz", body((8, 8, 8))), tmp_path / "bad.nii.gz"
    bad.write_bytes(b"<html>404</html>")
    sample = {"image": str(good), "label": str(bad), "case": "a"}
    assert file_problem(sample, wrapped(ScanError("x.nii: flat"))) == "x.nii: flat"
    assert file_problem(sample, wrapped(TypeError("of another library"))).startswith(f"{bad}: ")
    assert file_problem({**sample, "label": str(good)}, TypeError("a bug")) is None
    assert file_problem({"image": 5}, TypeError("a bug")) is None
    assert "memory" in file_problem({"image": str(good)}, wrapped(MemoryError()))


@pytest.mark.parametrize("count", [1, NAMED, NAMED + 4])
def test_many_cases_are_one_line(count, caplog):
    unusable = [Unusable(f"case {n}", f"{n}.nii: cut: fetch it again") for n in range(count)]
    with caplog.at_level(logging.WARNING):
        line = str(refusal(unusable, 20))
    assert line.startswith(f"{count} of 20 cases cannot be used: 0.nii: cut")
    assert line.count(".nii") == min(count, NAMED)
    assert ("and 4 more, in the log" in line) == (count > NAMED)
    assert all(one.reason in (caplog.text if count > NAMED else line) for one in unusable)
