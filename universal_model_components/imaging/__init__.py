# SPDX-License-Identifier: Apache-2.0
"""One scan in and out: files and headers (`scan_files`, `headers`; `reading`, by `nibabel_files` or `itk_files`), space
(`geometry`, `resampling`), intensities (`normalization`, `foreground`), masks (`labels`, `components`), storage
(`hdf5`, `writers`), and all of it as MONAI transforms (`transforms`). A scan that cannot be used raises a one-line
`ScanError`. It imports only `utils`.
"""
