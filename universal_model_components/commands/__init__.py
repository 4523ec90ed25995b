# SPDX-License-Identifier: Apache-2.0
"""The commands `datalist`, `weights`, `doctor` and `demo`: thin, and allowed to import every other package."""
