# SPDX-License-Identifier: Apache-2.0
"""The pieces of HTML: what is not ours is escaped, and each is labeled for screen readers."""

from __future__ import annotations

import base64

import pytest

from universal_model_components.figures import page as html


def test_texts_are_escaped():
    assert html.text("a < b & c") == "a &lt; b &amp; c"
    assert html.text(3) == "3"


def test_paragraphs_and_verdicts():
    assert html.paragraph("one") == "<p>one</p>"
    assert html.paragraph("one", soft=True) == '<p class="soft">one</p>'
    for good, kind in ((True, '"verdict good"'), (False, '"verdict bad"'), (None, '"verdict"')):
        assert f"<div class={kind}" in html.verdict("words", good)


def test_facts_and_shares():
    assert html.facts([]) == ""
    assert html.facts([("cubes", "<7>")]) == '<dl class="facts"><div><dt>cubes</dt><dd>&lt;7&gt;</dd></div></dl>'
    assert html.share(0.5).endswith("50 %")
    assert "--part: 100.0%" in html.share(1.5)


def test_a_table_names_its_rows_and_marks_numbers():
    grid = html.table("Caption", ["name", "value"], [["a", "1"], ["b", "2"]], numbers=[1], main=1)
    assert grid.count('<th scope="row">') == 2
    assert '<td class="number">2</td>' in grid
    assert grid.index('class="main"') > grid.index(">a<")


def test_figures_carry_their_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"PNG")
    shown = html.picture(tmp_path / "a.png", 'a "scan"', "A scan.")
    assert base64.b64encode(b"PNG").decode() in shown
    assert 'alt="a &quot;scan&quot;"' in shown
    assert 'role="img" aria-label="bars"' in html.chart("<svg></svg>", "bars", "Bars.")
    with pytest.raises(FileNotFoundError):
        html.picture(tmp_path / "none.png", "", "")


def test_a_page_links_to_its_sections():
    content = html.page("A & B", html.paragraph("lead"), [("one", "Section <1>", "<p>text</p>")], "footer")
    assert "<title>A &amp; B</title>" in content
    assert '<a href="#one">Section &lt;1&gt;</a>' in content
    assert '<section id="one" aria-labelledby="one-title">' in content
