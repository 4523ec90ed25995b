# SPDX-License-Identifier: Apache-2.0
"""Folders on disk become MONAI datalists: lists of cases by split, where all scans of one patient are in one split."""
