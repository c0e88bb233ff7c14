"""Colours of labels in pictures and on pages, those of the demo."""

from collections.abc import Sequence

from dusha_ser.vocabulary import UNCERTAIN

# In the order of labels, on a light and on a dark ground.
LIGHT = (
    *("#d55e00", "#0072b2", "#767676", "#00875f"),
    *("#b0578d", "#8a6d00", "#4f51b8", "#8c4a2f"),
)
DARK = (
    *("#f0813a", "#4aa8e0", "#a8a8ad", "#2fbf8f"),
    *("#dc93bd", "#d6b13f", "#9c9df0", "#cf9078"),
)
LIGHT_UNCERTAIN, DARK_UNCERTAIN = "#d4d4d8", "#52525b"


def label_colours(labels: Sequence[str], dark: bool = False) -> dict[str, str]:
    """The colour of each label, and that of "uncertain", as #rrggbb.

    Examples:
        >>> label_colours(["angry", "sad"])
        {'angry': '#d55e00', 'sad': '#0072b2', 'uncertain': '#d4d4d8'}
    """
    colours, uncertain = (DARK, DARK_UNCERTAIN) if dark else (LIGHT, LIGHT_UNCERTAIN)
    named = {label: colours[number % len(colours)] for number, label in enumerate(labels)}
    return {**named, UNCERTAIN: uncertain}


def luminance(colour: str) -> float:
    """The relative luminance of #rrggbb, in [0, 1].

    Source: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance
    """
    values = [int(colour[first : first + 2], 16) / 255 for first in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def ink(colour: str) -> str:
    """Black or white, whichever is easier to read on a colour #rrggbb.

    Examples:
        >>> ink("#d55e00"), ink("#0072b2")
        ('#000000', '#ffffff')
    """
    light = luminance(colour)
    return "#000000" if (light + 0.05) / 0.05 > 1.05 / (light + 0.05) else "#ffffff"
