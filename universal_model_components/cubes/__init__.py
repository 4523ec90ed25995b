# SPDX-License-Identifier: Apache-2.0
"""Pre-training's cubes: cut from normalized scans at three scales, once, and stored.

`recipe` decides what a cube looks like, `cropping` where it lies, `case_file` how it is stored; `cases` processes
one scan, `preparation` all of them (prepare.json), `planning` estimates the cost beforehand; `store` is what training
reads. It imports `datalists`, `imaging` and `utils`.
"""
