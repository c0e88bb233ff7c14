"""Pages: every kind of block in HTML and in Markdown."""

from html.parser import HTMLParser

from page_dusha import Code, Heading, Picture, Table, Text, write_page
from pictures_dusha import draw_curves

HISTORY = [
    {"epoch": 1.0, "loss": 1.2},
    {"epoch": 1.0, "eval_loss": 1.1, "eval_f1_macro": 0.4},
    {"epoch": 2.0, "loss": 0.9},
]


class Page(HTMLParser):
    """Collects what a page has."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.images, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_write_page_writes_every_kind_of_block(tmp_path):
    blocks = [
        Heading("A _heading_", 3),
        Text("a < b"),
        Table("numbers", [["name", "clips", "score"], ["x", "1,000", "0.5"], ["y", "", "0.25"]]),
        Code("python -m this"),
        Picture("curves", "what they show", draw_curves(HISTORY)),
    ]
    write_page("Title & more", blocks, tmp_path, "page")
    parsed = Page((tmp_path / "page.html").read_text())
    assert "Title & more" in parsed.texts and "a < b" in parsed.texts
    right = [tag for tag, attributes in parsed.tags if attributes.get("class") == "number"]
    # The head and both cells of the column of counts.
    assert right == ["th", "td", "td"]
    markdown = (tmp_path / "page.md").read_text()
    assert "### A \\_heading\\_" in markdown and "```\npython -m this\n```" in markdown
    assert "| x | 1,000 | 0.5 |" in markdown
