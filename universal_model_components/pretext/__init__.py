# SPDX-License-Identifier: Apache-2.0
"""Pretext tasks that the paper compares with, on the same encoder: 3D Rotation and 3D Jigsaw (Taleb et al. 2020).

Each task has three parts: random sampling, a function of each cube's seed as for the corruptions; a pure function that
applies what was drawn to a batch; and a network, `encoder` and `classifier`, that predicts what was drawn. `rotation`
and `jigsaw` are the tasks, `task` what they share, `permutations` the jigsaw's classes, `objective` the loss of both.
The trainer is that of `method.trainer`.
"""
