# SPDX-License-Identifier: Apache-2.0
"""Experiments as data: grids of runs of the stock bundles, and the report about them.

`results` reads the records that the runs left, `statistics` compares systems, `convergence` summarizes curves, and
`report` writes the page from `sections`. It may import `figures` and `utils`.
"""
