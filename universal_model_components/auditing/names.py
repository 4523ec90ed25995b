# SPDX-License-Identifier: Apache-2.0
"""Which names a config may use: of MONAI, PyTorch, Ignite, NumPy, this package, and harmless parts of Python.

A name is trusted because it is listed, or is of a listed package and not excluded from it. Excluded is what runs
programs or text, imports modules by name, unpickles, downloads, or writes files of any name.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType

from monai.bundle import ComponentLocator

OWN = __name__.partition(".")[0]
FRAMEWORKS = ("monai", "torch", "ignite", "numpy")
GLOBALS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}  # MONAI gives them to expressions
TRUSTED = f"MONAI, PyTorch, Ignite, NumPy, {OWN}, or the harmless part of Python"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BUILTINS = _words(
    "None True False abs all any bool bytes complex dict divmod enumerate filter float format frozenset hasattr int "
    "isinstance issubclass iter len list map max min next object ord pow print range repr reversed round set slice "
    "sorted str sum tuple type zip ValueError RuntimeError KeyError TypeError Exception"
)
# module → its harmless names; None is its public ones, apart from what is excluded below
STANDARD: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(("math", "cmath", "itertools", "collections", "datetime", "statistics", "string"), None),
    **dict.fromkeys(("random", "re", "fractions", "decimal", "numbers", "pathlib"), None),
    "copy": frozenset(("copy", "deepcopy")),
    "functools": frozenset(("partial", "reduce")),
    "glob": frozenset(("glob", "iglob")),
    "json": frozenset(("load", "loads", "dumps")),
    "logging": _words("getLogger DEBUG INFO WARNING ERROR"),
    "os": _words("path environ getcwd cpu_count sep linesep getenv listdir makedirs"),
    "sys": frozenset(("version_info", "maxsize")),
    "time": frozenset(("time", "strftime", "perf_counter", "monotonic")),
    "typing": _words("Any Callable Dict List Mapping Optional Sequence Tuple Union"),
    "warnings": frozenset(("filterwarnings", "simplefilter", "warn")),
}
EXCLUDED = {
    **dict.fromkeys(("torch.load", "numpy.load"), "may unpickle"),  # see `is_safe_load`
    **dict.fromkeys(("torch.hub", "torch.utils.model_zoo"), "downloads"),
    **dict.fromkeys(("torch.package", "torch.serialization", "torch.distributed.checkpoint"), "unpickles"),
    **dict.fromkeys(("torch.jit.load", "torch.export.load"), "loads code"),
    **dict.fromkeys(("torch.ops", "torch.classes", "torch.library", "torch.utils.cpp_extension"), "loads code"),
    **dict.fromkeys(("torch.utils.collect_env", "torch.multiprocessing", "torch.distributed.run"), "runs programs"),
    **dict.fromkeys(("torch.distributed.launch", "torch.distributed.launcher"), "runs programs"),
    **dict.fromkeys(("torch.distributed.elastic", "torch.utils.hipify"), "runs programs or writes files"),
    **dict.fromkeys(("torch.distributed.rpc", "torch.utils.benchmark", "torch.testing", "torch.fx"), "runs code"),
    **dict.fromkeys(("torch.from_file", "torch.onnx", "numpy.memmap"), "writes a file"),
    **dict.fromkeys(("numpy.testing", "numpy.f2py", "numpy.distutils"), "runs code"),
    **dict.fromkeys(("numpy.ctypeslib", "numpy.lib", "numpy.core"), "internal"),
    **dict.fromkeys(("numpy.DataSource", "numpy.genfromtxt", "numpy.loadtxt"), "downloads"),
    **dict.fromkeys(("monai.bundle", "monai.fl", "monai.utils.module"), "runs other configs or imports by name"),
    **dict.fromkeys(("monai.auto3dseg", "monai.apps.auto3dseg", "monai.apps.nnunet"), "runs programs"),
    **dict.fromkeys(("monai.config.check_env", "monai.apps.generation"), "runs programs"),
    **dict.fromkeys(("monai.apps.utils", "monai.apps.mmars", "monai.apps.datasets", "monai.apps.tcia"), "downloads"),
    "monai.data.torchscript_utils": "loads code",
    "monai.losses.perceptual": "downloads code",
}
# last names, wherever they are re-exported or whatever object they are asked of
METHODS = _words(
    "system popen Popen fork forkpty posix_spawn startfile exec execv execve execl execvp spawnl spawnv spawnve "
    "check_output check_call getoutput run_cmd run_module run_path import_module find_spec exec_module "
    "optional_import load_submodules instantiate run_debug run_eval exact_version require_pkg load_library "
    "add_safe_globals write write_text write_bytes writelines tofile dump save savez savez_compressed savetxt "
    "to_pickle rename unlink rmdir rmtree removedirs chmod chown symlink_to hardlink_to touch urlopen urlretrieve "
    "download_url download_and_extract extractall download load_url load_state_dict_from_url load_net_with_metadata "
    "pickle_operations pickle_hashing MedNISTDataset DecathlonDataset TciaDataset PerceptualLoss mro func_globals "
    "export_chrome_trace export_stacks broadcast_object_list scatter_object_list gather_object all_gather_object "
    "recv_object_list send_object_list f_globals f_locals f_builtins gi_frame cr_frame ag_frame tb_frame "
    "attrgetter methodcaller save_obj from_file hipify CUDAPluggableAllocator ZarrAvgMerger"
)
MODULES = _words(
    "os sys subprocess builtins importlib shutil socket socketserver pickle cPickle dill cloudpickle joblib marshal "
    "shelve ctypes cffi multiprocessing concurrent threading asyncio runpy codeop pty pdb bdb urllib urllib3 requests "
    "http httpx aiohttp ftplib smtplib telnetlib xmlrpc webbrowser tempfile posix nt inspect gc pkgutil zipimport imp "
    "zipfile tarfile sysconfig site fire pip setuptools gdown posixpath ntpath sched signal weakref operator codecs"
)
ROOTS = frozenset((*FRAMEWORKS, "np"))  # a name goes through one of them only at its start
HARMLESS_DUNDERS = ("__name__", "__version__", "__doc__")


def problem_of_attribute(name: str) -> str | None:
    """Return why an attribute is marked, whatever it is asked of; None where it is not."""
    if name.startswith("_") and name not in HARMLESS_DUNDERS:
        return f"{name}: private or special"
    if name in METHODS:
        return f"{name}: runs, imports, downloads or writes"
    return f"{name}: a module inside another" if name in MODULES else None


def problem_of_name(dotted: str) -> str | None:
    """Return why a full name, such as "torch.hub.load", is marked; None where it is trusted.

    Where a framework has the name from elsewhere, as `monai.apps.download_url`, the name that it was defined by counts
    too.
    """
    root, *rest = dotted.split(".")
    if root == OWN:
        public = importlib.import_module(OWN).__all__
        return None if not rest or rest[0] in public else f"{dotted}: not a public name of {OWN}"
    if root not in FRAMEWORKS and root not in STANDARD:
        return f"{dotted}: not of {TRUSTED}"
    problem = _excluded(dotted) or next(filter(None, map(problem_of_attribute, rest)), None)
    if problem is None and ROOTS.intersection(rest[:-1]):
        problem = f"{dotted}: a module inside another"
    origin = _origin(dotted)[0] if root in FRAMEWORKS else dotted
    if problem is None and origin != dotted:
        last = origin.rpartition(".")[2]
        problem = _excluded(origin) or (f"{origin}: runs, imports, downloads or writes" if last in METHODS else None)
    return problem if problem is None or problem.startswith(dotted) else f"{dotted}: {problem}"


def _excluded(dotted: str) -> str | None:
    """Return why a name is not of a trusted package, or excluded from it."""
    root, *rest = dotted.split(".")
    if root in STANDARD:
        harmless = not rest or rest[0] in _public_names(root)
        return None if harmless else f"{dotted}: not of the harmless part of Python"
    if root not in FRAMEWORKS and not (root == "builtins" and rest and rest[0] in BUILTINS):
        return f"{dotted}: not of {TRUSTED}"
    why = next((why for name, why in EXCLUDED.items() if f"{dotted}.".startswith(f"{name}.")), None)
    return None if why is None else f"{dotted}: {why}"


@functools.cache
def _public_names(module: str) -> frozenset[str]:
    """Return the harmless names of a module of Python; those of other modules that it imports are not its own."""
    allowed = STANDARD[module]
    if allowed is not None:
        return allowed
    found = importlib.import_module(module)
    named = getattr(found, "__all__", None) or [
        n for n, value in vars(found).items() if not isinstance(value, ModuleType)
    ]
    return frozenset(named) | ({"abc"} if module == "collections" else set())


def _origin(dotted: str) -> tuple[str, bool]:
    """Return the name that something of a framework was defined by, and whether it is a module.

    Only what is in the frameworks' own modules is looked up, which are imported already.
    """
    root, *rest = dotted.split(".")
    found: object = sys.modules.get(root)
    while rest and isinstance(found, ModuleType):
        inner = vars(found).get(rest[0])
        if inner is None:
            return ".".join([found.__name__, *rest]), False
        before, found = found.__name__, inner
        name = rest.pop(0)
        if isinstance(found, ModuleType):
            root = found.__name__
            continue
        module, own = (getattr(found, key, None) for key in ("__module__", "__qualname__"))
        root = f"{module}.{own}" if isinstance(module, str) and isinstance(own, str) else f"{before}.{name}"
    return ".".join([root, *rest]), isinstance(found, ModuleType)


def is_safe_load(dotted: str, arguments: Mapping[str, object]) -> bool:
    """Return whether this is a call of PyTorch's or NumPy's `load` that does not unpickle objects.

    Args:
        dotted: full name of what is called.
        arguments: constants that are given by keyword.
    """
    if dotted == "torch.load":
        return arguments.get("weights_only") is True
    return dotted == "numpy.load" and arguments.get("allow_pickle", False) is False


def problem_of_builtin(name: str) -> str | None:
    """Return why a built-in name is marked; None where it is harmless, or not one."""
    return f"{name}: runs code, or reaches it" if hasattr(builtins, name) and name not in BUILTINS else None


def is_module(dotted: str) -> bool:
    """Return whether a name is a module; one of a framework need not be imported."""
    if dotted in sys.modules or dotted in STANDARD or _origin(dotted)[1]:
        return True
    try:
        return dotted.split(".")[0] in FRAMEWORKS and importlib.util.find_spec(dotted) is not None
    except (ImportError, AttributeError, ValueError):  # of a name inside what is no package
        return False


@functools.cache
def _locator() -> ComponentLocator:
    return ComponentLocator()


def full_names(short: str) -> Iterator[str]:
    """Yield the full names that MONAI may take a name without a module for, such as "Compose"; none for its unknown."""
    modules = _locator().get_component_module_name(short) or []
    for module in [modules] if isinstance(modules, str) else modules:
        yield f"{module}.{short}"
