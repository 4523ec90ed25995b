# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from universal_model_components.inference.onnx import OnnxNetwork

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(("content", "message"), [(None, "no file"), (b"not onnx", "is unreadable")])
def test_bad_file_is_named_in_one_line(content, message, tmp_path):
    file = tmp_path / "model.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match=rf"^onnx_file: .*{message}.*$") as error:
        OnnxNetwork(str(file))
    assert "\n" not in str(error.value)
