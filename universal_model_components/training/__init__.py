# SPDX-License-Identifier: Apache-2.0
"""A training run around MONAI's trainers: sampling of batches, checkpoints, and Ignite handlers that JSON names.

`run` starts it, `sampling` decides which cubes make up a batch, `schedules` how fast each part is trained, `statistics`
estimates batch norm's before the first step, `handlers` watch it, `loss_record` and `best_model`
write what it leaves, `checkpoints` let it resume after an interruption. It may import `figures`, `weights` and `utils`;
data and networks are injected from JSON.
"""
