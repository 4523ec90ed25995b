# SPDX-License-Identifier: Apache-2.0
"""A network in an ONNX file, which `inference_onnx.json` uses in place of the PyTorch network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.utils import optional_import
from torch import Tensor, nn


class OnnxNetwork(nn.Module):
    """Wrap ONNX Runtime as a network with one input and one output.

    Args:
        file: written by `python -m monai.bundle onnx_export`, with a dynamic batch; see the bundle's README.
        device: of the tensors; a CUDA device also requests CUDA from ONNX Runtime, which only its GPU build has.

    Shape:
        (B, C, H, W, D) → what the exported network returns for it.

    Raises:
        FileNotFoundError: when there is no such file; one line.
        ValueError: when ONNX Runtime cannot read it, or a batch does not fit what was exported; one line.
    """

    def __init__(self, file: str, device: torch.device | str = "cpu") -> None:
        super().__init__()
        runtime, found = optional_import("onnxruntime")
        if not found:
            raise ModuleNotFoundError("onnx_file: ONNX Runtime is not installed: pip install onnxruntime")
        if not Path(file).is_file():
            raise FileNotFoundError(f"onnx_file: no file {file}: export the model first, or give another path")
        wanted = ["CPUExecutionProvider"]
        if torch.device(device).type == "cuda":
            wanted.insert(0, "CUDAExecutionProvider")
        providers = [name for name in wanted if name in runtime.get_available_providers()]
        try:
            self.session: Any = runtime.InferenceSession(str(file), providers=providers)
        except Exception as error:  # the runtime's own errors, one class a cause
            raise ValueError(f"onnx_file: {file} is unreadable ({' '.join(str(error).split())[:150]})") from error
        self.file, (self.input,) = str(file), self.session.get_inputs()

    def forward(self, image: Tensor) -> Tensor:
        """Return the network's output, on the image's device."""
        sides = list(zip(self.input.shape, image.shape, strict=True))  # a dynamic side is not a number
        if any(isinstance(exported, int) and exported != given for exported, given in sides):
            raise ValueError(
                f"onnx_file: {self.file} was exported for {self.input.shape}, got {list(image.shape)}: export it again "
                "with this patch_size and a dynamic batch"
            )
        voxels = image.detach().as_subclass(Tensor).float().cpu().contiguous().numpy()
        (output,) = self.session.run(None, {self.input.name: voxels})
        return torch.from_numpy(output).to(image.device)
