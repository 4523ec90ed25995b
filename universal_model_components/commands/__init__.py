# SPDX-License-Identifier: Apache-2.0
"""What `python -m universal_model_components COMMAND` runs: `datalist`, `weights`, `doctor`, `demo`, `experiment`.

Each is thin: it reads its arguments, calls the other packages, all of which it may import, and ends a user error in
one line with a non-zero exit code. `bundle_files`, `machine` and `pretraining_checks` are parts of `doctor`.
"""
