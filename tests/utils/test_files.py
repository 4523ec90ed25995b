# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from universal_model_components.utils.files import make_folders, remove_orphans, safe_name, write_atomically, write_text


def test_a_failure_leaves_what_was_there(tmp_path):
    file = tmp_path / "a.txt"
    write_atomically(file, lambda path: path.write_text("first"))

    def fail(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"a\.txt could not be written \(No space left on device\)"):
        write_atomically(file, fail)
    assert file.read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_text_is_utf_8_on_any_machine(tmp_path):
    write_text(tmp_path / "folder" / "a.txt", "α\n")
    assert (tmp_path / "folder" / "a.txt").read_bytes() == b"\xce\xb1\n"


def test_orphans_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    seen = []
    write_atomically(tmp_path / "model.pt", lambda path: seen.append(path.name) or path.touch())
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    own = seen[0]
    names = {
        "dead": own.replace(f"-{os.getpid()}.", f"-{int(dead.stdout)}."),
        "living": own,
        "of another machine": f".model.pt.00000000-{int(dead.stdout)}.tmp",
        "of another file": f".other.pt.-{int(dead.stdout)}.tmp",
    }
    for name in names.values():
        (tmp_path / name).touch()
    remove_orphans(tmp_path, "model.pt")
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {"model.pt", *(name for what, name in names.items() if what != "dead")}
    remove_orphans(tmp_path)
    assert names["of another file"] not in os.listdir(tmp_path)


def test_the_folders_of_a_run_are_made_or_named(tmp_path):
    make_folders(output_dir=tmp_path / "a" / "b", ckpt_dir=tmp_path)
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=rf"^ckpt_dir: {folder} cannot be made \(.*\): give another folder$"):
            make_folders(output_dir=tmp_path, ckpt_dir=folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match=r"^output_dir: .* cannot be written to: give another folder"):
        make_folders(output_dir=tmp_path)


@pytest.mark.parametrize(("name", "safe"), [("a-1_b.2", "a-1_b.2"), ("sarcoma / CT", "sarcoma_CT"), ("../x", ".._x")])
def test_a_name_becomes_part_of_a_files_name(name, safe):
    assert safe_name(name) == safe
