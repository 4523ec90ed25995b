# SPDX-License-Identifier: Apache-2.0
"""Pictures, charts and HTML pages.

`planes` cuts volumes, `panels` shows cubes and scans, `overlays` masks on scans; `curves`, `bars`, `histograms` and
`charts` draw numbers; `page` is the look of an HTML page, `sections` and `report` the one about a pre-training. `style`
holds colors and the only import of matplotlib. It may import `imaging` and `utils`.
"""
