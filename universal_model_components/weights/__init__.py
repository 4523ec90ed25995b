# SPDX-License-Identifier: Apache-2.0
"""Weight files, and loading them into a network: completely, or with a one-line error.

`hub` finds weights, `files` opens PyTorch and safetensors files, `loading` fills networks and prints the `coverage`;
`conversion` and `monai_networks` rename layers; `provenance` records how weights were trained, `large_files` what a
bundle lists.
It depends on none of our networks and imports only `utils`.
"""
