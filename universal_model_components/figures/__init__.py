# SPDX-License-Identifier: Apache-2.0
"""Pictures, charts and HTML pages.

`planes` cuts volumes, `panels` shows cubes and scans, `overlays` masks on scans; `curves`, `bars`, `histograms` and
`charts` draw numbers; `page` has the HTML elements, `sections` and `report` the report of pre-training. `style`
has colors and the only import of matplotlib. It may import `imaging` and `utils`.
"""
