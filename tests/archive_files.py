"""Small archives and folders for tests."""

import io
import tarfile

RAW = "crowd_train/raw_crowd_train.jsonl"


def write_tar(path, files, mode="w", **options):
    """Write a tar archive.

    Args:
        path: the archive; its folder is made.
        files: contents by name, or pairs of name and content where names come twice.
        mode: of tarfile.open.
        options: of tarfile.open.

    Returns:
        path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, **options) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_files(folder, files):
    """Write loose files; returns the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
