# SPDX-License-Identifier: Apache-2.0
"""Small bundles for the tests of the auditor. What the hostile ones name is read by it, and never run."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

HARMLESS: dict[str, Any] = {
    "imports": ["$import torch", "$import os", "$from pathlib import Path", "$import torch.distributed as dist"],
    "device": "$torch.device('cuda:' + os.environ['LOCAL_RANK'])",
    "network": {"_target_": "UNet", "channels": "$[2**i for i in range(@depth)]", "norm": "batch"},
    "names": "${key: value for key, value in @settings.items() if key != 'a'}",
    "path": "$str(Path(@bundle_root) / 'models' / f\"{@name}.pt\")",
    "joined": "$os.path.join(@bundle_root, 'models') + '/model.pt'",
    "read": "$[line for line in open(@datalist, 'r')]",
    "weights": "$torch.load(@file, weights_only=True, map_location='cpu')",
    "array": "$np.load(@file)",
    "count": "$len([0 for _ in @data.shape[: : 2]])",
    "loss": {"_target_": "torch.nn.CrossEntropyLoss", "_disabled_": "$not @train"},
    "optimizer": "$type(@optimizer).__name__",
    "hook": "$lambda engine: engine.state.output['loss'].item()",
    "setting": "$setattr(torch.backends.cudnn, 'benchmark', True)",
    "barrier": "$dist.barrier()",
    "reader": {"_target_": "LoadImaged", "keys": "image", "reader": "NibabelReader"},
    "macro": "%network",
    "note": "a text with $ inside, 50 % of it ../ and a path",
}

# name → overlay, and a part of the reason
HOSTILE: dict[str, tuple[Any, str]] = {
    "system": ({"imports": ["$import os"], "run": ["$os.system('id')"]}, "os.system"),
    "subprocess": ({"imports": ["$import subprocess"]}, "subprocess: not of"),
    "target_of_python": ({"x": {"_target_": "subprocess.run", "args": ["id"]}}, "subprocess.run: not of"),
    "builtin_target": ({"x": {"_target_": "eval", "source": "1"}}, "eval: runs code"),
    "named_builtin_target": ({"x": {"_target_": "builtins.exec"}}, "builtins.exec: not of"),
    "eval": ({"x": "$eval('1')"}, "eval: runs code"),
    "dunder_import": ({"x": "$__import__('os').system('id')"}, "__import__"),
    "open_to_write": ({"x": "$open('a', 'w').close()"}, "open: not only to read"),
    "open_computed": ({"x": "$open('a', @mode)"}, "open: not only to read"),
    "path_open": ({"imports": ["$from pathlib import Path"], "x": "$Path('a').open(mode='a')"}, "open: not only"),
    "path_write": ({"imports": ["$import pathlib"], "x": "$pathlib.Path('a').write_text('b')"}, "write_text"),
    "urllib": ({"x": {"_target_": "urllib.request.urlopen", "url": "@u"}}, "urllib.request.urlopen: not of"),
    "requests": ({"imports": ["$from requests import get"]}, "requests.get: not of"),
    "socket": ({"imports": ["$import socket as math"]}, "socket: not of"),
    "pickle": ({"x": {"_target_": "pickle.load", "file": "@f"}}, "pickle.load: not of"),
    "dunder_access": ({"x": "$().__class__.__base__.__subclasses__()"}, "__subclasses__"),
    "getattr_chain": ({"imports": ["$import os"], "x": "$getattr(getattr(os, 'pa' + 'th'), 'os')"}, "getattr"),
    "module_as_value": ({"imports": ["$import os"], "x": "$[os][0].fork()"}, "os: a whole module"),
    "alias": ({"imports": ["$import torch as t"], "x": "$t.hub.load('a/b', 'c')"}, "torch.hub.load: downloads"),
    "module_in_module": ({"x": "$monai.data.dataset.torch.hub.load('a/b')"}, "torch.hub.load"),
    "python_in_monai": ({"x": "$monai.apps.utils.shutil.rmtree('a')"}, "shutil"),
    "import_by_monai": ({"x": "$monai.utils.optional_import('os')[0]"}, "optional_import"),
    "short_name": ({"x": {"_target_": "run_cmd", "cmd_list": ["id"]}}, "monai.utils.misc.run_cmd"),
    "torch_hub": ({"x": {"_target_": "torch.hub.load", "repo_or_dir": "a/b"}}, "torch.hub.load: downloads"),
    "torch_load": ({"x": "$torch.load('a.pt')"}, "torch.load: may unpickle"),
    "torch_load_all": ({"x": "$torch.load('a.pt', weights_only=False)"}, "weights_only: False unpickles"),
    "torch_load_target": ({"x": {"_target_": "torch.load", "f": "a.pt"}}, "torch.load: may unpickle"),
    "torch_load_value": ({"x": "$list(map(torch.load, @files))"}, "torch.load: may unpickle"),
    "torch_load_stars": ({"x": "$torch.load('a.pt', weights_only=True, **@more)"}, "torch.load: may unpickle"),
    "numpy_pickle": ({"x": "$np.load('a.npy', allow_pickle=True)"}, "allow_pickle: True unpickles"),
    "argument": ({"x": {"_target_": "PersistentDataset", "weights_only": False}}, "weights_only: False unpickles"),
    "overlay_key": ({"network::_target_": "os.system"}, "os.system: not of"),
    "old_overlay_key": ({"network#_target_": "os.system"}, "os.system: not of"),
    "computed_target": ({"x": {"_target_": "@name"}, "name": "os.system"}, "computed when it is run"),
    "reader": ({"x": {"_target_": "LoadImaged", "keys": "a", "reader": "evil.Reader"}}, "evil.Reader: not of"),
    "own_module": ({"x": {"_target_": "universal_model_components.commands.demo.demo"}}, "not a public name"),
    "script": ({"x": {"_target_": "scripts.network.Network"}}, "scripts.network.Network: not of"),
    "relative_import": ({"imports": ["$from . import evil"]}, "not of"),
    "later_statement": ({"imports": ["$import torch; import os"]}, "cannot be parsed"),
    "not_python": ({"x": "$os.system('id'"}, "cannot be parsed"),
    "debugger": ({"x": {"_target_": "UNet", "_mode_": "debug"}}, "debugger"),
    "unknown_name": ({"x": "$surprise()"}, "surprise: an unknown name"),
    "shadowed_builtin": ({"x": "$(lambda exec: 0, exec('1'))"}, "exec: runs code"),
    "class": ({"x": "$type('X', (), {'a': 1})"}, "type: makes a class"),
    "f_string": ({"x": "$f'{eval(1)}'"}, "eval: runs code"),
    "weights_elsewhere": ({"x": {"_target_": "CheckpointLoader", "load_path": "/tmp/model.pt"}}, "outside the bundle"),
    "weights_above": ({"pretrained_weights": "../other/model.pt"}, "leaves its folder"),
    "weights_above_joined": ({"x": "$@bundle_root + '/../model.pt'"}, "leaves its folder"),
    "weights_in_expression": ({"x": "$'/tmp/model.pt'"}, "outside the bundle"),
    "home": ({"ckpt_dir": "~/models"}, "outside the bundle"),
    "address": ({"x": {"_target_": "MLFlowHandler", "tracking_uri": "http://a.b"}}, "an address"),
    "macro": ({"x": "%/tmp/evil.json::network"}, "a config outside the bundle"),
    "pasted_key": ({"x') or eval('1') or ('": {"a": 1, "b": "$@##a"}}, "relative reference below the key"),
}


def write_bundle(folder: Path, overlay: Any = None, **files: bytes) -> Path:
    """Write a bundle of harmless configs, one overlay, and other files by their paths with `__` for `/`."""
    configs = folder / "configs"
    configs.mkdir(parents=True)
    (configs / "metadata.json").write_text(json.dumps({"schema": "https://monai.io", "version": "0.1.0"}))
    (configs / "inference.json").write_text(json.dumps(HARMLESS))
    if overlay is not None:
        (configs / "overlay.json").write_text(json.dumps(overlay))
    for name, content in files.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


class Hostile:
    """An object whose pickle calls something; only ever pickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def zipped(file: Path, **members: bytes) -> bytes:
    """Return a file of `torch.save`'s form with these members, `_` for the dot in their names."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"model/{name.replace('_', '.')}", content)
    return file.read_bytes()


def _texts(*texts: bytes) -> bytes:
    return b"".join(pickle.SHORT_BINUNICODE + bytes([len(text)]) + text for text in texts)


# the last two texts say `collections.OrderedDict`, but they are popped before the name is taken from the stack
DECOY = b"".join(
    [
        pickle.PROTO + b"\x04",
        _texts(b"posix", b"system", b"collections", b"OrderedDict"),
        pickle.POP + pickle.POP + pickle.STACK_GLOBAL + pickle.STOP,
    ]
)
