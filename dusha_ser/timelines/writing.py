"""Files of timelines, one per recording and form, in a folder, and the time of each emotion."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

from dusha_ser.audio.finding import AudioFile
from dusha_ser.files import safe_name
from dusha_ser.storage import check_file, replacing, write_text
from dusha_ser.timelines.exports import TEXTS
from dusha_ser.timelines.forms import FORMS
from dusha_ser.timelines.recordings import Shares, Timeline, make_timeline

DOTS_PER_INCH = 150


def name_recordings(files: Sequence[AudioFile]) -> dict[str, str]:
    """Name the files of recordings, without a suffix, by the recordings' names.

    Recordings of one name in several folders are named by their whole paths, and what is still
    the same gets a number.

    Examples:
        >>> name_recordings([AudioFile(name, name) for name in ("a/x.wav", "b/x.wav", "y.mp3")])
        {'a/x.wav': 'a_x.wav', 'b/x.wav': 'b_x.wav', 'y.mp3': 'y'}
    """
    stems = {one.name: safe_name(PurePath(one.name).stem) for one in files}
    counts = Counter(stem.casefold() for stem in stems.values())
    names: dict[str, str] = {}
    taken: set[str] = set()
    for name, stem in stems.items():
        wanted = stem if counts[stem.casefold()] == 1 else safe_name(name)
        base, number = wanted, 2
        while base.casefold() in taken:
            base, number = f"{wanted}_{number}", number + 1
        taken.add(base.casefold())
        names[name] = base
    return names


class TimelineWriter:
    """Writes the timeline of each recording, and counts the time of each label.

    Args:
        files: the recordings.
        forms: of FORMS; none: the time is counted, and nothing is written.
        output_dir: folder to write.
        overwrite: whether files that are there may be replaced.
        least_confidence: probability below which merged windows are uncertain, in [0, 1].
        inputs: what is read, which may not be replaced in any case.

    Attributes:
        shares: of the time, of the recordings so far.
        written: the number of files so far.

    Raises:
        WrongUseError: if a file is there already, or cannot be written.
    """

    def __init__(
        self,
        files: Sequence[AudioFile],
        forms: Sequence[str],
        output_dir: Path,
        overwrite: bool = False,
        least_confidence: float = 0.0,
        inputs: Sequence[str] = (),
    ):
        self.forms = list(dict.fromkeys(forms))
        self.least_confidence = least_confidence
        self.shares = Shares()
        self.written = 0
        self._audio = {one.name: Path(one.path) for one in files}
        self._bases = {name: output_dir / base for name, base in name_recordings(files).items()}
        paths = [self._path(base, form) for base in self._bases.values() for form in self.forms]
        # The first one for whether the folder can be written at all.
        for path in paths[:1] + [path for path in paths[1:] if path.exists()]:
            check_file(path, overwrite, inputs, "output_dir")

    def take(self, rows: Sequence[dict]) -> None:
        """Write the files of a recording by its rows; none where it has no prediction."""
        if rows[0]["id"] not in self._bases:
            return
        timeline = make_timeline(rows, self.least_confidence)
        if timeline is None:
            return
        self.shares.add(timeline)
        for form in self.forms:
            self._write(timeline, form, self._path(self._bases[timeline.name], form))
            self.written += 1

    def _path(self, base: Path, form: str) -> Path:
        return base.with_name(base.name + FORMS[form])

    def _write(self, timeline: Timeline, form: str, path: Path) -> None:
        if form in TEXTS:
            write_text(path, TEXTS[form](timeline))
        elif form == "picture":
            # Only here: it takes a second to import.
            from dusha_ser.timelines.picture import draw_timeline

            with replacing(path) as unfinished:
                draw_timeline(timeline).savefig(unfinished, dpi=DOTS_PER_INCH)
        else:
            from dusha_ser.timelines.page import embed_audio, make_page

            audio = embed_audio(self._audio[timeline.name], timeline.duration, path)
            write_text(path, make_page(timeline, audio))
