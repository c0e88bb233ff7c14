"""Names that are safe for files."""

from dusha_ser.files import is_safe_name, safe_name
from dusha_ser.fingerprints import hash_name


def test_names_are_safe_for_files():
    assert safe_name("/models/large v1.0") == "models_large_v1.0"
    assert safe_name("../..") == safe_name("") == "_"
    assert hash_name(b"a") != hash_name(b"b") and is_safe_name(hash_name(b""))
    for name in ("", "a/b", "..", ".a", "a.b", "-a", "a" * 129, "ä"):
        assert not is_safe_name(name)
