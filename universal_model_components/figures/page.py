# SPDX-License-Identifier: Apache-2.0
"""The style sheet and HTML elements of the report; all text from outside is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1b1f24; --soft: #56606b; --line: #d9dee4;
  --accent: #0059a0; --good: #00674c; --good-back: #e2f4ee; --bad: #9a3b00; --bad-back: #fdeee2; --bar: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --page: #0e1116; --card: #171b21; --ink: #e8eaed; --soft: #a3adb8;
  --line: #303741; --accent: #79bdf2; --good: #6fd6b4; --good-back: #10302a; --bad: #ffb27a; --bad-back: #3a2412;
  --bar: #56b4e9; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header, main, footer { max-width: 80rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
h1 { font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.2; margin: 0 0 .6rem; letter-spacing: -.015em; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 .5rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .3rem; }
p { margin: .4rem 0 .9rem; max-width: 46rem; }
a { color: var(--accent); }
.soft, figcaption, caption { color: var(--soft); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; margin: .8rem 0 1.4rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.3rem 1.4rem;
  margin: 0 0 1.25rem; scroll-margin-top: 1rem; }
.verdict { border-left: 5px solid var(--soft); padding: .8rem 1.1rem; border-radius: 6px; margin: .6rem 0 1.1rem; }
.verdict p { margin: 0; max-width: none; }
.verdict.good { border-color: var(--good); background: var(--good-back); }
.verdict.bad { border-color: var(--bad); background: var(--bad-back); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; margin: 1rem 0; }
.facts div { border: 1px solid var(--line); border-radius: 10px; padding: .7rem .9rem; }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.35rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: .8rem 0; }
.scroll:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
caption { text-align: left; padding-bottom: .4rem; font-size: .9rem; }
th, td { text-align: left; padding: .45rem .55rem; border-bottom: 1px solid var(--line); vertical-align: baseline; }
th { font-weight: 600; }
thead th { color: var(--soft); font-size: .85rem; line-height: 1.35; vertical-align: bottom; }
tbody th { min-width: 7.5rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
tr.main th, tr.main td { font-weight: 700; border-top: 2px solid var(--line); }
.good-text { color: var(--good); font-weight: 600; }
.bad-text { color: var(--bad); font-weight: 600; }
.share { display: inline-block; width: 6rem; height: .55rem; border: 1px solid var(--line); border-radius: 4px;
  margin-right: .6rem; background: linear-gradient(var(--bar), var(--bar)) no-repeat left / var(--part) 100%; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; border-radius: 8px; }
.chart { overflow-x: auto; }
.chart svg { display: block; width: 100%; min-width: 32rem; height: auto; }
.panels figure { overflow-x: auto; }
.panels img { min-width: 40rem; }
section > :last-child { margin-bottom: 0; }
figcaption { font-size: .92rem; margin-top: .5rem; max-width: 46rem; }
code { font: .88em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: .88rem; padding-bottom: 2.5rem; }
@media (max-width: 34rem) { section { padding: 1rem; border-radius: 10px; } header, main, footer { padding: 0 .7rem; }
  header { padding-top: 1.4rem; } th, td { padding: .4rem .45rem; } .share { width: 3rem; } }
@media print { :root { color-scheme: light; --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb;
  --accent: #000; --good: #00553f; --good-back: #fff; --bad: #7a2f00; --bad-back: #fff; --bar: #0072b2; }
  nav { display: none; } section { border: 0; padding: 0; } body { font-size: 10.5pt; }
  h2, h3, h3 + p { break-after: avoid; } figure, table, .verdict, .facts { break-inside: avoid; }
  .chart svg, .panels img { min-width: 0; } table { font-size: 8pt; }
  th, td { padding: .2rem .3rem; } .scroll { overflow: visible; } * { print-color-adjust: exact; } }
"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="icon" href="data:,">
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
$lead
<nav aria-label="Sections"><ul>$links</ul></nav>
</header>
<main>
$sections
</main>
<footer>$footer</footer>
</body>
</html>
""")


def page(title: str, lead: str, sections: Sequence[tuple[str, str, str]], footer: str) -> str:
    """The whole page.

    Args:
        title: text.
        lead: HTML under the title.
        sections: (id, heading as text, HTML) each.
        footer: HTML.
    """
    links = "".join(f'<li><a href="#{name}">{escape(heading)}</a></li>' for name, heading, _ in sections)
    body = "\n".join(
        f'<section id="{name}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title">{escape(heading)}</h2>\n{html}\n</section>'
        for name, heading, html in sections
    )
    return _PAGE.substitute(title=escape(title), style=STYLE, lead=lead, links=links, sections=body, footer=footer)


def text(content: object) -> str:
    """Any value as safe HTML text."""
    return escape(str(content))


def paragraph(content: str, soft: bool = False) -> str:
    """A paragraph of HTML; soft ones are secondary."""
    return f'<p class="soft">{content}</p>' if soft else f"<p>{content}</p>"


def verdict(content: str, good: bool | None) -> str:
    """A highlighted statement: good, bad, or (None) neither."""
    kind = {True: " good", False: " bad", None: ""}[good]
    return f'<div class="verdict{kind}" role="note"><p>{content}</p></div>'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """A row of large figures with their names."""
    items = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{items}</dl>' if items else ""


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Iterable[int] = (),
    main: int | None = None,
) -> str:
    """A table that scrolls sideways on small screens.

    Args:
        caption: text above it.
        head: names of the columns, text.
        rows: cells as HTML, the first one names the row.
        numbers: columns that hold numbers, aligned to the right.
        main: index of the row that matters most.
    """
    numbers = set(numbers)

    def mark(column: int) -> str:
        return ' class="number"' if column in numbers else ""

    top = "".join(f'<th scope="col"{mark(i)}>{text(name)}</th>' for i, name in enumerate(head))
    body = ""
    for index, row in enumerate(rows):
        cells = "".join(f"<td{mark(i)}>{cell}</td>" for i, cell in enumerate(row) if i)
        main_row = ' class="main"' if index == main else ""
        body += f'<tr{main_row}><th scope="row">{row[0]}</th>{cells}</tr>\n'
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table>'
        f"<caption>{text(caption)}</caption><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def share(value: float) -> str:
    """A share of one as a short bar and a percentage."""
    part = min(max(value, 0.0), 1.0)
    return f'<span class="share" style="--part: {100 * part:.1f}%" aria-hidden="true"></span>{100 * value:.0f} %'


def chart(svg: str, description: str, caption: str) -> str:
    """A figure around an SVG drawing."""
    drawing = f'<div class="chart" role="img" aria-label="{text(description)}">{svg}</div>'
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def picture(file: Path, description: str, caption: str) -> str:
    """A figure around a PNG file, which is embedded in the page."""
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    image = f'<img alt="{text(description)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
