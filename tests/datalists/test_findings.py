# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from universal_model_components.datalists.findings import Findings


def test_counts_that_differ_from_what_is_expected_are_differences(capsys):
    findings = Findings()
    findings.count("patients", 7, 7)
    findings.count("scans", 5, 9)
    findings.count("others", 3, None)
    findings.notes.append("drawn by hash")
    assert findings.differences == ["scans: 5, 9 expected"]
    assert [row["what"] for row in findings.to_dict()["counts"]] == ["patients", "scans", "others"]
    findings.print()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["patients", "7", "7"]
    assert lines[3].split() == ["others", "3", "-"]
    assert lines[4:] == ["note: drawn by hash", "differs: scans: 5, 9 expected"]


def test_a_note_of_many_files_is_one_line():
    findings = Findings()
    findings.note_files([{"file": f"{n}.nii", "notes": [f"{n}.nii: sheared"]} for n in range(3)])
    findings.note_files([{"file": "a.nii", "problem": "a.nii: unreadable"}, {"file": "b.nii", "notes": ["b.nii: odd"]}])
    assert findings.notes == ["0.nii: sheared (and 2 more files)", "b.nii: odd"]
