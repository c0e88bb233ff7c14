"""Pages: every kind of block in HTML and in Markdown."""

from pages import HISTORY, Page, table_rows

from dusha_ser.reports.figures import draw_curves
from dusha_ser.reports.page import Code, Heading, Plot, Table, Text, plain, write_page


def test_write_page_writes_every_kind_of_block(tmp_path):
    blocks = [
        Heading("A _heading_", 3),
        Text("a < b"),
        Table("numbers", [["name", "clips", "score"], ["x", "1,000", "0.5"], ["y", "", "0.25"]]),
        Code("python -m this"),
        Plot("curves", "what they show", draw_curves(HISTORY)),
    ]
    write_page("Title & more", blocks, tmp_path, "page")
    parsed = Page((tmp_path / "page.html").read_text())
    assert "Title & more" in parsed.texts and "a < b" in parsed.texts
    right = [tag for tag, attributes in parsed.tags if attributes.get("class") == "number"]
    # The heads of clips and score, and what stands below them, row by row.
    assert right == ["th", "th", "td", "td", "td", "td"]
    markdown = (tmp_path / "page.md").read_text()
    assert "### A \\_heading\\_" in markdown and "```\npython -m this\n```" in markdown
    assert ["x", "1,000", "0.5"] in table_rows(markdown)


def test_plain_escapes_what_markdown_would_format():
    assert plain("a_model [b]") == "a\\_model \\[b\\]"
