# SPDX-License-Identifier: Apache-2.0
"""Which names are trusted."""

from __future__ import annotations

import builtins

import pytest

from universal_model_components.auditing.names import (
    BUILTINS,
    full_names,
    is_module,
    is_safe_load,
    problem_of_attribute,
    problem_of_builtin,
    problem_of_name,
)

TRUSTED = (
    "torch.zeros torch.nn.functional.gelu torch.optim.Adam torch.Tensor.numpy torch.float32 torch.distributed.barrier "
    "torch.cuda.is_available torch.utils.tensorboard.SummaryWriter numpy.zeros numpy.random.default_rng "
    "monai.transforms.Compose monai.utils.set_determinism monai.handlers.from_engine ignite.metrics.Loss os.path.join "
    "os.environ pathlib.Path functools.partial math.pi universal_model_components.UNet json.load torch torch.nn"
)
NOT_TRUSTED = (
    "torch.load torch.save torch.hub.load torch.jit.load torch.utils.collect_env.run torch.ops.load_library "
    "torch.utils.benchmark.Timer torch.serialization.pickle.loads numpy.save numpy.testing.runstring numpy.load "
    "monai.utils.optional_import monai.utils.misc.run_cmd monai.apps.download_url monai.bundle.ConfigParser "
    "monai.losses.PerceptualLoss monai.data.utils.pickle.loads monai.data.dataset.torch.hub.load "
    "monai.networks.nets.densenet.load_state_dict_from_url os.system os.path.os.system random._os.system sys.modules "
    "typing.get_type_hints json.codecs.open logging.config.fileConfig subprocess.run builtins.eval importlib "
    "torch.utils.bundled_inputs.torch.hub.load "
    "universal_model_components.commands.demo.demo universal_model_components.os evil evil.run torch.__dict__"
)


@pytest.mark.parametrize("name", TRUSTED.split())
def test_trusted(name):
    assert problem_of_name(name) is None


@pytest.mark.parametrize("name", NOT_TRUSTED.split())
def test_not_trusted(name):
    assert problem_of_name(name).startswith(f"{name}: ")


def test_builtins_are_harmless_or_marked():
    assert set(dir(builtins)) >= BUILTINS
    for name in ("eval", "exec", "open", "getattr", "setattr", "vars", "globals", "compile", "__import__", "input"):
        assert problem_of_builtin(name) == f"{name}: runs code, or reaches it"
    assert problem_of_builtin("len") is None
    assert problem_of_builtin("nothing_of_python") is None


def test_attributes():
    assert problem_of_attribute("numpy") is None
    assert problem_of_attribute("__name__") is None
    for name in ("_private", "__globals__", "system", "os", "tofile"):
        assert problem_of_attribute(name).startswith(f"{name}: ")


def test_a_short_name_is_what_monai_takes_it_for():
    assert list(full_names("Compose")) == ["monai.transforms.compose.Compose"]
    assert list(full_names("run_cmd")) == ["monai.utils.misc.run_cmd"]
    assert list(full_names("eval")) == []


def test_modules():
    assert all(is_module(name) for name in ("os", "torch.nn", "monai.data.dataset.torch", "torch.utils.bundled_inputs"))
    assert not any(is_module(name) for name in ("torch.nn.ReLU", "torch.zeros", "torch.nothing"))


@pytest.mark.parametrize(
    ("name", "arguments", "safe"),
    [
        ["torch.load", {}, False],
        ["torch.load", {"weights_only": True}, True],
        ["torch.load", {"weights_only": 1}, False],
        ["numpy.load", {}, True],
        ["numpy.load", {"allow_pickle": True}, False],
        ["torch.jit.load", {"weights_only": True}, False],
    ],
)
def test_loads(name, arguments, safe):
    assert is_safe_load(name, arguments) is safe
