# SPDX-License-Identifier: Apache-2.0
"""Evaluation of models: metrics as functions of arrays, and the handlers and runs that report them.

`restoration` with `probes` for pre-training, `segmentation` and `classification` for the target tasks, each with a
module of its metrics; `store_report` compares a store of cubes with `table_one`, the paper's Table I. It may import
`cubes`, `figures`, `imaging`, `tasks`, `weights` and `utils`.
"""
