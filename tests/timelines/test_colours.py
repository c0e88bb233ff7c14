"""Colours of labels: those of the demo, readable."""

import re
from pathlib import Path

from dusha_ser.timelines.colours import DARK, LIGHT, ink, label_colours, luminance

REPOSITORY = Path(__file__).resolve().parents[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_are_those_of_the_demo():
    style = (REPOSITORY / "dusha_ser" / "demo" / "page.css").read_text(encoding="utf-8")
    found = re.findall(r"--emotion-\d: (#[0-9a-f]{6})", style)
    assert tuple(found) == LIGHT + DARK


def test_ink_is_readable_on_every_colour():
    labels = [str(number) for number in range(9)]
    for dark in (False, True):
        colours = label_colours(labels, dark)
        assert colours["8"] == colours["0"]
        assert min(contrast(one, ink(one)) for one in colours.values()) >= 4.5
