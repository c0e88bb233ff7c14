"""The forms that a timeline is written in; nothing heavy is imported."""

from collections.abc import Iterable

from dusha_ser.errors import WrongUseError

# The suffix of each form's files.
FORMS = {
    "csv": ".csv",
    "json": ".json",
    "rttm": ".rttm",
    "audacity": ".txt",
    "srt": ".srt",
    "vtt": ".vtt",
    "textgrid": ".TextGrid",
    "picture": ".png",
    "page": ".html",
}


def check_forms(forms: Iterable[str]) -> None:
    """Raise a WrongUseError for a form that there is not.

    Examples:
        >>> check_forms(["srt", "mp3"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        dusha_ser.errors.WrongUseError: `export` has 'mp3'; take csv, json, rttm, audacity, ...
    """
    *most, last = FORMS
    for form in forms:
        if form not in FORMS:
            raise WrongUseError(
                f"`export` has {form!r}; take {', '.join(most)} or {last}, several with commas"
            )
