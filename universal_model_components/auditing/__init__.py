# SPDX-License-Identifier: Apache-2.0
"""What a bundle would run, read without running any of it: configs, logging, weights, and other files with code.

MONAI evaluates the expressions of a config and imports what it names, so a bundle is a program. `bundles` opens one and
hands each file to `configs`, `logging_files` or `weights`; `expressions` reads Python expressions, and `names` decides
which names are trusted. What is not known to be harmless is marked.
"""
