"""Names for what things hold, by which caches and results know whether it is still the same."""

import ast
import functools
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any


def digest(*values: object) -> str:
    """Name values that JSON can hold by 16 hexadecimal digits, the same on every machine.

    Examples:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def code_digest(*names: str) -> str:
    """Name the code of modules, and of all modules of packages, by 16 hexadecimal digits.

    Comments, docstrings and spaces do not count, nor does the version of Python.

    Examples:
        >>> code_digest("dusha_ser.storage") == code_digest("dusha_ser.errors")
        False
    """
    files: list[Path] = []
    for name in names:
        spec = importlib.util.find_spec(name)
        folders = list(spec.submodule_search_locations or ()) if spec else []
        files += [Path(spec.origin)] if spec and spec.origin and not folders else []
        files += [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    return digest(names, [(path.name, _code(path.read_text("utf-8"))) for path in files])


def _code(source: str) -> list:
    """Return source code as its syntax tree, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[ast.get_docstring(node, clean=False) is not None :]
        elif isinstance(node, ast.JoinedStr):
            # Python 3.12.0 and 3.12.1 end the format of a value by an empty text.
            node.values = [one for one in node.values if getattr(one, "value", None) != ""]
    return _outline(tree)


def _outline(node: Any) -> Any:
    """Return a part of a syntax tree as lists, without empty fields: each Python adds its own.

    `ast.dump` names these, in some versions.
    """
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
        return [type(node).__name__, *((name, _outline(value)) for name, value in fields)]
    return list(map(_outline, node)) if isinstance(node, list) else repr(node)


def hash_name(content: bytes) -> str:
    """Name bytes by 32 hexadecimal digits, as many as the published corpus has in clips' names.

    Examples:
        >>> hash_name(b"clip")
        '67905ad3cc2dd52b1f5f6a6d2814de03'
    """
    return hashlib.sha256(content).hexdigest()[:32]
