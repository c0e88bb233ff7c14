"""The pages and the code say things as a native engineer would: phrases that are not used here."""

import re
import tokenize

import pytest
from documentation import PAGES, REPOSITORY

# Each with what to say instead.
PHRASES = {
    r"\banew\b": "again, from scratch",
    r"(?<!there )\b(is|are|was|be) no "
    r"(tar|number|folder|file|model|table|corpus|wav|text|JSON|HTTP)\b": "not a",
    r"\bin vain\b": "without effect",
    r"\bfor want of\b": "because ... is missing",
    r"\bof no use\b": "unusable",
    r"\b(goes|go|went|going) on with\b": "resumes, continues",
    r"\bwhat lacks\b|\b(shards|files|clips) that lack\b|\badds what\b": "missing",
    r"\bso (many|large|much) (a |of the )?(frames|clips|bands|blocks|share|files)\b": "N, this",
    r"\bwhoever\b": "anyone who",
    r"\b(a|one) (row|file|line) (a|an) (window|clip|answer|file|row)\b": "one ... per ...",
    r"\bwhole numbers?\b": "integers",
    r"\bbesides\b": "also",
    r"\bends? with a message\b": "stops with a message",
    r"\bleft out with all\b": "dropped, with all",
    r"(?<![({])\bsounds\b(?![:)}])": "audio, recordings, audio files",
    r"\bsurely differ\b|\bdiffer surely\b": "differ significantly",
}
CODE = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.py", "dusha_ser/**/*.py", "benchmarks/*.py", "demo/*.py")
    for path in REPOSITORY.glob(pattern)
)
WORDS = re.compile("|".join(f"(?:{phrase})" for phrase in PHRASES), re.IGNORECASE)


def found_in(text: str) -> list[str]:
    """Phrases of a text that should not be there, each with its line."""
    # A phrase may be broken by the end of a line, and by the mark of a comment after it.
    joined = re.sub(r"\n[ \t]*(?:# ?)?", lambda gap: "\n" if "\n\n" in gap[0] else " ", text)
    return [joined[max(0, hit.start() - 30) : hit.end() + 20] for hit in WORDS.finditer(joined)]


def test_found_in_when_phrases_are_there():
    assert len(found_in("Starts anew. X is no tar archive.\nIt goes on\n    # with the rest.")) == 3
    assert found_in("It starts again. X is not a tar archive. There is no file.") == []


@pytest.mark.parametrize("page", PAGES)
def test_page_in_plain_english(page):
    assert found_in((REPOSITORY / page).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("module", CODE)
def test_module_in_plain_english(module):
    with tokenize.open(REPOSITORY / module) as file:
        tokens = list(tokenize.generate_tokens(file.readline))
    said = [token.string for token in tokens if token.type in (tokenize.COMMENT, tokenize.STRING)]
    assert found_in("\n".join(said)) == []
