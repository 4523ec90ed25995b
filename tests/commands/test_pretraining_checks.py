# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from scan_files import make_dataset

from universal_model_components.commands.pretraining_checks import check_folder, check_store

BOTH = ["ct", "mri"]


def test_a_store_is_counted_and_a_missing_one_is_one_error(cube_store, tmp_path):
    findings = list(check_store(cube_store, BOTH))
    assert [finding.level for finding in findings] == ["ok", "ok"]
    assert "of 4 'training' cases" in findings[0].message
    assert "of 2 'validation' cases" in findings[1].message
    (missing,) = check_store(tmp_path, BOTH)
    assert missing.level == "error"
    assert "run prepare.json first" in missing.message


def test_headers_of_a_folders_scans_are_read(tmp_path):
    make_dataset(tmp_path, 2, 1)
    (tmp_path / "ct" / "broken.nii").write_text("no image")
    warning, fine = check_folder(tmp_path, BOTH)
    assert (warning.level, fine.level) == ("warning", "ok")
    assert "broken.nii" in warning.message
    assert f"4 scans below {tmp_path}" in fine.message
