# SPDX-License-Identifier: Apache-2.0
"""What a training run needs beside its engine: handlers, checkpoints, the best model, batch sampling, loss records.

It knows MONAI and Ignite and gets everything else from JSON; it may import `figures`, `weights` and `utils`.
"""
