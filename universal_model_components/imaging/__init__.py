# SPDX-License-Identifier: Apache-2.0
"""One scan in and out: files and headers (`scan_files`, `reading`), space (`geometry`, `resampling`), intensities
(`normalization`, `foreground`), masks (`labels`, `components`), what is stored (`hdf5`, `writers`), and all of it as
MONAI transforms (`transforms`). A scan that cannot be used is a `ScanError`, one line. It may import `utils` alone.
"""
