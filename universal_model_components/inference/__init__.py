# SPDX-License-Identifier: Apache-2.0
"""From scans to predictions with a trained network: inputs (`inputs`), the run (`runner`), how the network is called
(`sliding_window` and `folding`, `classification`, `onnx`), what is written (`predictions`, `features`), and the encoder
alone (`encoder`). It may import `datalists`, `imaging`, `method`, `tasks`, `weights` and `utils`.
"""
