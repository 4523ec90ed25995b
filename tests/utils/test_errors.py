# SPDX-License-Identifier: Apache-2.0
"""A user error is one line at the edge of every command, and an exception before that; a bug shows its traceback."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import pytest
import torch
from conftest import REPOSITORY
from monai.bundle import ConfigWorkflow
from monai.data import NibabelWriter
from monai.transforms import Compose, SaveImage
from torch.utils.data import DataLoader

from universal_model_components.imaging.errors import ScanError, scan_error
from universal_model_components.utils.errors import find_cause, root_cause, show_user_errors, user_error

PRETRAINING = "universal_model_pretraining"
TINY = ["--features", "[4,8,16,32]", "--device", "cpu", "--num_workers", "0"]


def chain(*errors):
    """The first error, caused by the second, and so on."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def test_the_root_cause_is_what_was_raised_first():
    bug = KeyError("a bug")
    assert root_cause(chain(RuntimeError("Failed to evaluate"), RuntimeError("again"), bug)) is bug
    assert root_cause(bug) is bug


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("spacing: 0 is not positive"), "spacing: 0 is not positive"),
        (chain(RuntimeError("Failed to evaluate"), RuntimeError("again"), ValueError("split: no a")), "split: no a"),
        (chain(ValueError("datalist: cannot read a.json"), OSError("gone")), "datalist: cannot read a.json"),
        (chain(RuntimeError("applying transform"), ScanError("a.nii: constant")), "a.nii: constant"),
        (FileNotFoundError(2, "No such file or directory", "a  b.nii"), "a  b.nii: No such file or directory"),
        (OSError(None, "a.pt could not be written"), "a.pt could not be written"),
        (FloatingPointError("loss: nan"), "loss: nan"),
        (ValueError("one\n  two\n"), "one two"),
        (ValueError(), "ValueError"),
        (TypeError("a bug"), None),
        (chain(RuntimeError("Failed to evaluate"), KeyError("a bug")), None),
        (RuntimeError("Traceback (most recent call last)\n  …\nException: a bug"), None),
        (
            ValueError("Traceback (most recent call last)\n  …\nOops: odd"),
            "Traceback (most recent call last) … Oops: odd",
        ),
        (KeyboardInterrupt(), None),
    ],
)
def test_the_line_of_a_user_error(error, line):
    assert user_error(error) == line


def test_a_scan_error_is_found_below_others():
    cause = ScanError("a.nii: constant")
    assert scan_error(chain(RuntimeError("applying transform"), ValueError("wrapped"), cause)) is cause
    assert scan_error(ValueError("no scan")) is None


class Broken:
    """A data set whose only item is a user error."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        try:
            raise OSError(2, "No such file")
        except OSError as error:
            raise ScanError("a.nii: unreadable: fetch it again") from error


def test_the_line_comes_through_a_worker_process():
    with pytest.raises(ValueError, match="Traceback") as caught:
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert user_error(caught.value) == "a.nii: unreadable: fetch it again"


def _refuse(data):
    raise ScanError("a.nii: constant volume")


@pytest.mark.parametrize(("kind", "line"), [(OSError, "a.nii.gz could not be written"), (TypeError, None)])
def test_the_line_comes_through_save_image(kind, line, tmp_path):
    """MONAI's transform raises an error that holds the traceback of what its writer raised."""

    class Writer(NibabelWriter):
        def write(self, *_, **__):
            raise kind(13, "a.nii.gz could not be written")

    save = SaveImage(tmp_path, writer=Writer, print_log=False)
    with pytest.raises(RuntimeError, match="cannot find a suitable writer") as caught:
        save(torch.zeros(1, 4, 4, 4))
    assert user_error(caught.value) == line


def test_the_line_comes_through_monais_transforms():
    with pytest.raises(RuntimeError) as caught:
        Compose([Compose([_refuse])])({})
    assert user_error(caught.value) == "a.nii: constant volume"


@pytest.fixture
def hook(monkeypatch):
    """The hook of a command, with what it leaves to the one before."""
    left = []
    monkeypatch.setattr(sys, "excepthook", lambda *given: left.append(given[1]))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back at the end
    show_user_errors("evaluate")
    show_user_errors("train")  # takes the place of the first
    return (lambda error: sys.excepthook(type(error), error, error.__traceback__)), left


def test_the_hook_prints_one_line_and_logs_the_traceback(hook, capsys, caplog):
    show, left = hook
    with caplog.at_level(logging.DEBUG):
        show(chain(RuntimeError("Failed"), ValueError("seed: 'a' is no number")))
        show(ValueError("train: seed is no number"))
    assert capsys.readouterr() == ("", "train: seed: 'a' is no number\ntrain: seed is no number\n")
    assert left == []
    assert [record.levelname for record in caplog.records] == ["DEBUG"] * 2
    assert "RuntimeError: Failed" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_error_of_a_thread_is_one_line_too(hook, capsys):
    def fail(error):
        raise error

    for error in (OSError(28, "No space left on device", "events"), TypeError("a bug")):
        thread = threading.Thread(target=fail, args=(error,))
        thread.start()
        thread.join()
    first, *others = capsys.readouterr().err.splitlines()
    assert first == "train: events: No space left on device"
    assert (others[0][:19], others[-1]) == ("Exception in thread", "TypeError: a bug")


def test_the_hook_leaves_bugs_and_interactive_sessions_alone(hook, capsys, monkeypatch):
    show, left = hook
    bug, mistake = TypeError("a bug"), ValueError("a mistake")
    show(bug)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    show(mistake)
    assert left == [bug, mistake]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("command", "hint", "line"),
    [
        ("train", (), "interrupted: run again with --resume true to continue from the last checkpoint"),
        ("evaluate", (), "interrupted: run again: it starts from the first case"),
        (
            "inference",
            (),
            "interrupted: run again: it starts from the first scan; files that were written are complete",
        ),
        ("prepare", ("run again to resume",), "interrupted: run again to resume"),
        ("doctor", (), "interrupted"),
    ],
)
def test_the_hook_ends_after_ctrl_c_and_says_how_to_go_on(hook, command, hint, line, capsys):
    show_user_errors(command)
    with pytest.raises(SystemExit) as ended:
        hook[0](KeyboardInterrupt(*hint))
    assert ended.value.code == 130
    assert capsys.readouterr().err == f"{command}: {line}\n"


def command(bundle, configs, *options):
    folder = REPOSITORY / "bundles" / bundle / "configs"
    files = [name if "/" in name else str(folder / f"{name}.json") for name in configs]
    return [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(files), *options]


def run(line, folder):
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_line_begins_after_an_open_progress_bar(tmp_path):
    (tmp_path / "drawing.py").write_text(
        "from tqdm.auto import tqdm\n"
        "from universal_model_components.utils.errors import show_user_errors\n"
        "show_user_errors('train')\n"
        "bar = tqdm(total=8)\n"
        "bar.update(3)\n"
        "raise ValueError('spacing: 0 is not positive')\n"
    )
    result = run([sys.executable, "drawing.py"], tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "train: spacing: 0 is not positive"


BTS, LNC = "brats_mri_whole_tumor_segmentation", "lung_nodule_ct_classification"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bundle", "configs", "options", "message"),
    [
        (PRETRAINING, ["prepare"], ["--dataset_dir", "no"], "prepare: dataset_dir: no is not a folder"),
        (PRETRAINING, ["train"], ["--cube_store", "no", *TINY], "train: cube_store: no store.json in no"),
        (PRETRAINING, ["train", "evaluate"], ["--cube_store", "no", *TINY], "evaluate: cube_store: no store.json"),
        (
            PRETRAINING,
            ["inference"],
            ["--dataset_dir", "no", *TINY],
            "inference: dataset_dir: no scan in no, which is not a folder",
        ),
        (BTS, ["train"], ["--epoch", "3", *TINY], "train: unknown settings: --epoch (did you mean --epochs?)"),
        (BTS, ["train"], ["--amp", "perhaps", *TINY], "train: amp: 'perhaps' is not a boolean"),
        (BTS, ["train", "evaluate"], ["--datalist", "no.json", *TINY], "evaluate: pretrained_weights: no file"),
        (LNC, ["train", "evaluate"], ["--datalist", "no.json", *TINY], "evaluate: datalist: cannot read no.json"),
        (LNC, ["inference"], ["--candidates", "no.csv", *TINY], "inference: candidates: "),
    ],
)
def test_a_user_error_of_a_config_is_one_line(bundle, configs, options, message, tmp_path):
    result = run(command(bundle, configs, "--bundle_root", str(tmp_path), *options), tmp_path)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith(message)
    assert "Traceback" not in result.stdout


@pytest.mark.slow
def test_the_traceback_is_there_at_level_debug(tmp_path):
    settings = (REPOSITORY / "bundles" / PRETRAINING / "configs" / "logging.conf").read_text()
    (tmp_path / "debug.conf").write_text(settings.replace("INFO", "DEBUG"))
    options = ["--cube_store", "no", "--logging_file", "debug.conf", *TINY]
    result = run(command(PRETRAINING, ["train"], *options), tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "train: cube_store: no store.json in no: run prepare.json first, or correct the path"
    ]
    assert "Traceback (most recent call last)" in result.stdout
    assert "FileNotFoundError: cube_store: no store.json in no" in result.stdout


@pytest.mark.slow
def test_a_bug_shows_its_traceback(tmp_path):
    (tmp_path / "bug.json").write_text(json.dumps({"run": ["$None + 1"]}))
    result = run(command(PRETRAINING, ["train", str(tmp_path / "bug.json")]), tmp_path)
    assert result.returncode == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "TypeError: unsupported operand" in result.stderr


def test_in_process_a_user_error_is_an_exception(tmp_path):
    """What a notebook or a federated client catches."""
    config = REPOSITORY / "bundles" / PRETRAINING / "configs" / "train.json"
    flow = ConfigWorkflow(str(config), logging_file=False, bundle_root=str(tmp_path), cube_store="no", device="cpu")
    flow.initialize()
    with pytest.raises(Exception, match="Failed to") as caught:  # no SystemExit
        flow.run()
    assert user_error(caught.value).startswith("cube_store: no store.json in no")


@pytest.mark.slow
def test_ctrl_c_is_one_line(cube_store, tmp_path):
    options = ["--bundle_root", str(tmp_path), "--cube_store", str(cube_store), "--epochs", "100000"]
    options += ["--patch_size", "[16,16,16]", "--batch_size", "4", *TINY]
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
        line = command(PRETRAINING, ["train"], *options)
        process = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=out, stderr=err)
        try:
            ended = time.monotonic() + 120
            while not (tmp_path / "output" / "losses.csv").is_file() and time.monotonic() < ended:
                time.sleep(0.1)
            # Python drops an interrupt that arrives within a destructor: a user would press again
            while process.poll() is None and time.monotonic() < ended + 120:
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
            assert process.poll() == 130
        finally:
            process.kill()
    lines = (tmp_path / "err").read_text().strip().splitlines()
    assert lines[-1] == "train: interrupted: run again with --resume true to continue from the last checkpoint"
    assert "Traceback" not in (tmp_path / "out").read_text() + "".join(lines)


def test_the_first_error_of_a_kind_in_a_chain_is_found():
    cause, scan = ValueError("a setting"), ScanError("a.nii: constant")
    assert find_cause(chain(RuntimeError("wrapped"), cause), ValueError) is cause
    assert find_cause(chain(RuntimeError("wrapped"), scan, cause), (OSError, ScanError)) is scan
    assert find_cause(chain(RuntimeError("wrapped"), cause), OSError) is None
