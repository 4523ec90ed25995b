# SPDX-License-Identifier: Apache-2.0
"""What people look at: panels, curves, charts, overlays, histograms, and HTML pages.

matplotlib is imported by `style` alone, when something is drawn. It may import `imaging` and `utils`.
"""
