"""The archives of the corpus: found, indexed once, their members read in place, never unpacked."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from huggingface_hub.constants import HF_HOME

from dusha_ser.archives.checksums import check_file, parse_checksum
from dusha_ser.archives.members import Index, Members, corpus_name
from dusha_ser.archives.mirrors import Mirror, fetch_archives
from dusha_ser.archives.tar_index import GZIP_SUFFIXES, TAR_SUFFIX, index_archive
from dusha_ser.errors import MissingInputError, WorkFailedError, WrongUseError
from dusha_ser.files import find_files
from dusha_ser.options import split_list

logger = logging.getLogger(__name__)

BASE_URL = "https://cdn.chatwm.opensmodel.sberdevices.ru/dusha/"
# Any of these beginnings of member names shows that an archive's content is there.
CONTENTS = {
    "crowd.tar": ("crowd_train/raw_", "crowd_test/raw_"),
    "podcast.tar": ("podcast_train/raw_", "podcast_test/raw_"),
    "features.tar": ("features/",),
    "paper_setups.tgz": ("paper_setups/",),
}
ARCHIVES = tuple(CONTENTS)


def open_members(
    paths: Iterable[str | os.PathLike],
    cache_dir: str | os.PathLike | None = None,
    quiet: bool = False,
) -> Members:
    """Open archives and folders of unpacked files, in any mix, for reading members in place.

    Folders are searched for loose files and archives (.tar, .tgz, .tar.gz) that are not hidden. An
    archive's index is kept until its path, size or time of change is another.

    Args:
        paths: archives and folders, in order of precedence; a folder's loose files come first.
        cache_dir: folder of indexes; None: `dusha` in the Hugging Face cache.
        quiet: no bars.

    Raises:
        MissingInputError: a path is not there.
        WorkFailedError: a folder or archive cannot be read, or an archive is damaged, cut short,
            not a tar archive, or holds links, devices or names that lead outside.
        WrongUseError: an archive is compressed and the cache cannot be written.
    """
    cache_dir = cache_folder(cache_dir)
    indexes = []
    for path in map(Path, paths):
        if path.is_dir():
            loose, archives = _search(path)
            indexes.append(loose)
            indexes.extend(index_archive(archive, cache_dir, quiet) for archive in archives)
        elif path.is_file():
            indexes.append(index_archive(path, cache_dir, quiet))
        else:
            raise MissingInputError(
                f"no file or folder {path}; name an archive or a folder that holds archives or "
                "their unpacked files"
            )
    return Members(indexes)


def cache_folder(cache_dir: str | os.PathLike | None) -> Path:
    """The folder for what is worth keeping between runs: without a choice, in HF_HOME."""
    return Path(HF_HOME) / "dusha" if cache_dir is None else Path(cache_dir)


def _search(folder: Path) -> tuple[Index, list[Path]]:
    """The loose files of a folder and the archives in it, both in the order of their names."""
    try:
        # Users link folders from other disks.
        found = list(find_files(folder))
        archives = [path for path in found if path.name.endswith((TAR_SUFFIX, *GZIP_SUFFIXES))]
        files = [path for path in found if not path.name.endswith((TAR_SUFFIX, *GZIP_SUFFIXES))]
        sizes = np.array([path.stat().st_size for path in files], np.int64)
    except OSError as error:
        raise WorkFailedError(f"{error.filename}: cannot be read: {error.strerror}") from error
    own_name = folder.resolve().name
    names = [corpus_name(path.relative_to(folder).as_posix(), own_name) for path in files]
    return Index(names, list(map(str, files)), np.zeros_like(sizes), sizes), archives


def find_archives(
    names: Sequence[str] = ARCHIVES,
    data_dir: str | os.PathLike | None = None,
    base_url: str | Sequence[str] | None = None,
    cache_dir: str | os.PathLike | None = None,
    checksums: Mapping[str, str] | None = None,
    required: Sequence[str] | None = None,
    quiet: bool = False,
) -> Members:
    """Find archives in a user's folder, packed or unpacked, and fetch only what it does not hold.

    Args:
        names: archives that are wanted, of ARCHIVES.
        data_dir: folder of archives, of their unpacked files, or of any mix.
        base_url: addresses of folders of archives, also as text with commas, tried in turn; None
            and no data_dir: BASE_URL.
        cache_dir: folder of downloads and indexes; None: `dusha` in the Hugging Face cache.
        checksums: "sha256:HEX" or "md5:HEX" for names whose content the user knows.
        required: archives that must be there; None: all of names.
        quiet: no bars.

    Returns:
        The members of all that was found, those of data_dir before fetched ones.

    Raises:
        MissingInputError: data_dir or a required archive is not there.
        WrongUseError: an address or checksum is not one, or a checksum is of no archive.
        WorkFailedError: an archive cannot be fetched, is damaged, or holds what none should.
    """
    required = names if required is None else required
    cache_dir = cache_folder(cache_dir)
    paths = [] if data_dir is None else [data_dir]
    members = open_members(paths, cache_dir, quiet)
    at_hand = {archive.name: archive for archive in members.archives}
    for name, text in (checksums or {}).items():
        checksum = parse_checksum(name, text)
        if name in at_hand:
            check_file(at_hand[name], checksum, quiet)
        elif name not in ARCHIVES:
            known = ", ".join(dict.fromkeys([*ARCHIVES, *at_hand]))
            raise WrongUseError(
                f"`checksums` has {name}, and there is no such archive: take one of {known}"
            )
        elif holds_archive(members, name):
            logger.warning("%s is unpacked here: its checksum cannot be compared", name)
    missing = [name for name in names if not holds_archive(members, name)]
    base_url = base_url or (BASE_URL if data_dir is None else ())
    addresses = split_list(base_url)
    if missing and addresses:
        optional = [name for name in missing if name not in required]
        fetched = fetch_archives(missing, addresses, cache_dir, checksums, optional, quiet)
        members = open_members([*paths, *fetched.values()], cache_dir, quiet)
        missing = [name for name in missing if not holds_archive(members, name)]
    if missing := [name for name in missing if name in required]:
        places = [data_dir] if data_dir else [Mirror(one, cache_dir).shown("") for one in addresses]
        there = ", ".join(map(str, members.archives))
        there = there or f"no archive, and {len(members)} loose files"
        wanted = "; ".join(
            f"{name} has files such as {' or '.join(f'{start}...' for start in CONTENTS[name])}"
            for name in missing
        )
        raise MissingInputError(
            f"nothing of {' and '.join(missing)} in {' or '.join(map(str, places))} (it has "
            f"{there}); {wanted}. Put these archives, or what is unpacked from them, into one "
            "folder and give it as `data_dir`, or give an address that has them as `base_url`"
        )
    return members


def holds_archive(members: Members, name: str) -> bool:
    """Tell whether the content of a published archive, one of ARCHIVES, is among members."""
    return any(member.startswith(CONTENTS[name]) for member in members)
