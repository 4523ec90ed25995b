# SPDX-License-Identifier: Apache-2.0
"""A training run around MONAI's trainers: sampling of batches, checkpoints, and Ignite handlers that JSON names.

`run` starts it, `sampling` composes batches, `schedules` sets each part's learning rate, `reversal` the coefficient of
the gradient reversal, `mixed_precision` computes in bfloat16 on a CPU, `statistics` re-estimates batch norm before the
first step, `handlers` monitors it, `loss_record` and `best_model` write its results, and `checkpoints` lets it resume
after an interruption. It may import `figures`, `weights` and `utils`; data and networks are injected from JSON.
"""
