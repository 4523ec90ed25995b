# SPDX-License-Identifier: Apache-2.0
"""Samples of the target tasks: cases of a datalist, checked, normalized, cached, cropped and augmented.

`segmentation_data` serves whole scans with their masks, `classification_data` cubes of scans that `scan_cache` keeps,
around `candidates` or in the middle; `augmentation` and `label_noise` change them by seed. `settings` and `checks`
report errors before training starts. It imports `datalists`, `imaging` and `utils`.
"""
