# SPDX-License-Identifier: Apache-2.0
"""Pictures, charts and HTML pages.

`planes` cuts volumes, `panels` shows cubes and scans, `overlays` masks on scans, `label_noise` clean and noisy ones;
`curves`, `bars`, `histograms` and `charts` draw numbers; `page` has the HTML elements, `report` composes the report of
pre-training from `sections`, `probe_section` and `numbers`. `style` has colors and the only import of matplotlib. It
imports `imaging` and `utils`.
"""
