# SPDX-License-Identifier: Apache-2.0
"""Shared utilities: atomic files, settings from the command line, user errors, tables, processes.

`files` writes atomically, `archives` zips bundles, `settings` reads booleans and nulls, `errors` reports a user error
in one line, `tables` reads CSV files, `parallel` and `cluster` process many cases, `versions` lists package versions.
It imports nothing else from this package.
"""
