"""What tests of pages share: a history of training, readers of HTML, Markdown and predictions."""

import re
from html.parser import HTMLParser

HISTORY = [
    {"epoch": 1.0, "loss": 1.2},
    {"epoch": 1.0, "eval_loss": 1.1, "eval_f1_macro": 0.4},
    {"epoch": 2.0, "loss": 0.9},
]


def probabilities_of(row):
    """The probabilities of a row of `dusha predict`, by label."""
    prefix = "probability_"
    return {
        name.removeprefix(prefix): float(value)
        for name, value in row.items()
        if name.startswith(prefix)
    }


def table_rows(markdown):
    """All rows of the tables of a page in Markdown, as lists of cells."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


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
