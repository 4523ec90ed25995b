# SPDX-License-Identifier: Apache-2.0
"""Pretext tasks that the paper compares with, on the same encoder: 3D Rotation and 3D Jigsaw (Taleb et al. 2020).

A task is three parts. A draw is a function of each cube's seed, as for the corruptions; a pure function applies what was
drawn to a batch; a network of `encoder` and `classifier` tells what was drawn. `rotation` and `jigsaw` are the tasks,
`permutations` the orders of the jigsaw's patches, `objective` the loss of both. The trainer is `method.trainer`'s.
"""
