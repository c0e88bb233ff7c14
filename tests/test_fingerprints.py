"""Names for what things hold: the same for the same, others for anything else."""

import pytest

from dusha_ser.fingerprints import code_digest, digest


def test_digest_tells_values_apart_and_not_their_order():
    assert digest({"a": 1, "b": "да"}) == digest({"b": "да", "a": 1})
    assert len({digest(1), digest("1"), digest([1]), digest(1, 1), digest()}) == 5
    assert len(digest()) == 16


CODE = """'''Halves.'''

def half(number):
    '''Divide by two.'''
    # as taught
    return number / 2
"""


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (CODE.replace("as taught", "in another way").replace("Divide", "Cut"), True),
        (CODE.replace("number / 2", "( number/2 )"), True),
        (CODE.replace("number / 2", "number // 2"), False),
        (CODE.replace("def half", "def third"), False),
    ],
)
def test_code_digest_tells_what_is_done_and_not_how_it_is_described(
    other, same, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "halving" / "inner").mkdir(parents=True)
    (tmp_path / "halving" / "__init__.py").touch()
    found = []
    for source in (CODE, other):
        (tmp_path / "halving" / "inner" / "half.py").write_text(source)
        code_digest.cache_clear()
        found.append(code_digest("halving", "dusha_ser.errors"))
    assert (found[0] == found[1]) is same
    assert code_digest("halving") != code_digest("dusha_ser.errors")


def test_code_digest_is_the_same_by_every_version_of_python(tmp_path, monkeypatch):
    # Versions differ in the fields that their trees have and in formats within an f-string.
    monkeypatch.syspath_prepend(tmp_path)
    source = 'def write(value: int, width=""):\n    return f"{value:>{width}}", [], None, ""\n'
    (tmp_path / "writing_of_values.py").write_text(source)
    assert code_digest("writing_of_values") == "76a93039f04267d5"
