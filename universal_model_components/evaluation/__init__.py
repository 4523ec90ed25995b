# SPDX-License-Identifier: Apache-2.0
"""Metrics and reports of held-out data: restoration with linear probes, segmentation, classification, the cube store.

It may import `cubes`, `figures`, `imaging`, `tasks`, `weights` and `utils`.
"""
