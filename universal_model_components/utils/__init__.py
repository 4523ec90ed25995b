# SPDX-License-Identifier: Apache-2.0
"""What every package may need: atomic files, settings from the command line, user errors, tables, processes.

`files` writes beside and renames, `archives` zips, `settings` reads booleans and nulls, `errors` puts a user error into
one line, `tables` reads CSV files, `parallel` and `cluster` work on many cases, `versions` names what a figure depends
on. It imports nothing else of this package.
"""
