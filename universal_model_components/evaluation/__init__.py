# SPDX-License-Identifier: Apache-2.0
"""What a model has learned, measured: metrics as functions of arrays, and the handlers and runs that report them.

`restoration` with `probes` for pre-training, `segmentation` and `classification` for the target tasks, each beside the
module of its metrics; `store_report` describes a store of cubes next to `table_one`, the paper's Table I. It may import
`cubes`, `figures`, `imaging`, `tasks`, `weights` and `utils`.
"""
