"""Files as they lie on disks: which are there, what came in their place, and their names."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

# What `printable_name` writes in place of a character.
ESCAPE = re.compile(r"\\u([0-9a-f]{4})|\\x([0-9a-f]{2})")
# What arrives in the place of any file, by its first bytes.
FOREIGN = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the file itself: fetch that with git lfs pull",
    ),
    (b"<", "is a web page that a server or proxy sent in the file's place: fetch it again"),
)


def foreign_content(start: bytes) -> str | None:
    """Say what arrived in a file's place, and what to do, by its first bytes; None: nothing known.

    Examples:
        >>> foreign_content(b"version https://git-lfs.github.com/spec/v1")
        'is a Git LFS pointer, not the file itself: fetch that with git lfs pull'
    """
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((what for mark, what in FOREIGN if start.startswith(mark)), None)


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder of this name is another program's business.

    Examples:
        >>> is_hidden("._a.wav"), is_hidden("__MACOSX"), is_hidden("a.wav")
        (True, True, False)
    """
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


def find_files(folder: Path, left_out: list[str] | None = None) -> Iterator[Path]:
    """Find all files below a folder that are not hidden, each folder's in the order of names.

    Links are followed, but for those that lead back into the folder: what they lead to is found
    without them.

    Args:
        folder: to search.
        left_out: gets a line for each link that is not followed.

    Raises:
        OSError: if a folder cannot be read.
    """
    left_out = [] if left_out is None else left_out
    top = os.path.realpath(folder)
    seen = {top}
    for root, below, here in os.walk(folder, onerror=_raise, followlinks=True):
        kept = []
        for name in sorted(name for name in below if not is_hidden(name)):
            path = Path(root, name)
            target = os.path.realpath(path)
            inside = path.is_symlink() and os.path.commonpath([target, top]) in (target, top)
            if inside or target in seen:
                left_out.append(f"{path} leads to {target}, which is searched already")
            else:
                kept.append(name)
                seen.add(target)
        below[:] = kept
        for name in sorted(name for name in here if not is_hidden(name)):
            path = Path(root, name)
            if path.is_file():
                yield path
            elif path.is_symlink():
                left_out.append(f"{path} leads to {os.path.realpath(path)}, where no file is")


def _raise(error: OSError):
    raise error


def printable_name(name: str) -> str:
    r"""Write a file's name as text that tables, JSON and Arrow hold and readers do not strip.

    Bytes that are not UTF-8 become \udcXX, and control characters and blanks at both ends \xXX, or
    \uXXXX. `named_file` reads it.

    Examples:
        >>> print(printable_name(" caf\udce9.wav"))
        \x20caf\udce9.wav
    """
    return re.sub(r"[\0-\x1f\x7f]|^\s|\s\Z|[\udc80-\udcff]", _escape, name)


def _escape(found: re.Match) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def named_file(name: str, folder: Path | None = None) -> Path:
    """Return the file of a name as it stands, or else as `printable_name` or Windows writes it.

    Args:
        name: of the file, as a table holds it.
        folder: that it is relative to.
    """
    folder = folder or Path()
    path = folder / name
    if "\\" not in name or os.path.lexists(path):
        return path
    path = folder / ESCAPE.sub(lambda found: chr(int(found[1] or found[2], 16)), name)
    from_windows = folder / PureWindowsPath(name).as_posix()
    return from_windows if os.path.lexists(from_windows) else path


def safe_name(name: str) -> str:
    """Make a file's name of any text: its letters, digits, dots and hyphens, "_" for the rest.

    Examples:
        >>> safe_name("../models/dusha large")
        'models_dusha_large'
    """
    kept = "".join(c if c.isalnum() or c in "-." else "_" for c in name.strip(os.sep))
    return kept.strip("._") or "_"


def is_safe_name(name: str) -> bool:
    """Tell whether a name may be a file's: 1 to 128 letters, digits, _, -, not led by _ or -.

    Examples:
        >>> is_safe_name("0a1b"), is_safe_name("../0a1b"), is_safe_name(".hidden")
        (True, False, False)
    """
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", name) is not None
