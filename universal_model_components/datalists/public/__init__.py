# SPDX-License-Identifier: Apache-2.0
"""The public data sets of the paper, one module each: from the folder that its archive unpacks into to a datalist.

Each knows its set's file names, patients, labels and the part that the paper uses; `commands.datalist` names them. It
imports the rest of `datalists`, `imaging`, `utils`, and for LUNA16 `tasks.candidates`.
"""
