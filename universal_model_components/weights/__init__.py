# SPDX-License-Identifier: Apache-2.0
"""Weights on disk and their way into a network: all that was asked for, or one line that says why not.

`files` opens PyTorch and safetensors files, `loading` fills networks and prints the `coverage`; `conversion` and
`monai_networks` give layers other names; `provenance` says how weights came to be, `large_files` what a bundle lists.
It knows no network of ours and imports `utils` alone.
"""
