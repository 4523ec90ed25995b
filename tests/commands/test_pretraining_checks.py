# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from scan_files import body, make_dataset, write_scan

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
    write_scan(tmp_path / "mri" / "scan_0.nii.gz", body(), 1.0)
    findings = list(check_folder(tmp_path, BOTH))
    assert sorted(finding.level for finding in findings) == ["ok", "warning", "warning"]
    for part in ("broken.nii: no readable header", "scan_0.nii.gz: the affine is the identity", "4 scans below"):
        assert sum(part in finding.message for finding in findings) == 1
