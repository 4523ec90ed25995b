# SPDX-License-Identifier: Apache-2.0
"""MONAI datalists: lists of cases by split, where all scans of one patient are in one split.

`folder` and `own_scans` make them from a user's scans, `public` from public data sets, both by `making`; `reader` reads
a given one, `sources` several for preparation, `splits` draws splits. `leakage` compares lists by patient and, with
`inspection` and `fingerprints`, by voxels. It imports `imaging` and `utils`.
"""
