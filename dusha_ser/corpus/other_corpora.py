"""Readers of other corpora of emotional speech as they are distributed, in Dusha's four emotions.

Label and speaker are in file names (IEMOCAP: in its evaluation files). Other emotions (fear,
disgust, surprise, boredom, frustration) are left out, but ravdess_8 has all eight. The numbers of
recordings are checked: one lost line in a reader has halved a corpus before, and the published
results with it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dusha_ser.audio.finding import files_below
from dusha_ser.corpus.configurations import OTHER_CORPORA, check_spelling
from dusha_ser.corpus.own_recordings import Recording
from dusha_ser.errors import MissingInputError, WrongUseError

AUDIO_SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True)
class OtherCorpus:
    """What is known of a corpus, whose title is in `configurations.OTHER_CORPORA`."""

    layout: str  # an example of a path in it
    counts: dict[str, int]  # recordings of each emotion that is read, in the whole corpus
    list_recordings: Callable[[Path], Iterator[Recording]]  # of a folder, in any order
    source: str  # who published it, and under which licence


def read_corpus(
    name: str, data_dir: str | Path, allow_other_counts: bool = False
) -> list[Recording]:
    """List the recordings of a corpus with the emotions that it has here, in the order of ids.

    Raises:
        WrongUseError: no such corpus, or it is not complete and `allow_other_counts` is not set.
        MissingInputError: the folder, or a file that the corpus names, is not there.
    """
    if name not in CORPORA:
        raise WrongUseError(f"no corpus named {name!r}; known are {', '.join(CORPORA)}")
    corpus, title, data_dir = CORPORA[name], OTHER_CORPORA[name], Path(data_dir)
    check_spelling(f"{name}={data_dir}")
    recordings: dict[str, Recording] = {}
    for recording in corpus.list_recordings(data_dir):
        first = recordings.setdefault(recording.id, recording)
        # Some copies of TESS and RAVDESS hold the whole corpus twice, one inside the other.
        if first.path.stat().st_size != recording.path.stat().st_size:
            raise WrongUseError(
                f"{first.path} and {recording.path} have one name and differ in size; "
                "keep the right one"
            )
    if not recordings:
        raise MissingInputError(
            f"no recordings of {title} in {data_dir}; they look like {corpus.layout}"
        )
    found = Counter(recording.label for recording in recordings.values())
    if found != corpus.counts and not allow_other_counts:
        emotions = "the four emotions" if len(corpus.counts) == 4 else "these emotions"
        counts = ", ".join(f"{label} {found[label]} (of {n})" for label, n in corpus.counts.items())
        raise WrongUseError(
            f"{title} has {sum(corpus.counts.values()):,} recordings with {emotions}; "
            f"{data_dir} has {found.total():,}: {counts}. Unpack the corpus again; "
            "`allow_other_counts=True` takes what is there"
        )
    return sorted(recordings.values(), key=lambda recording: recording.id)


def from_names(
    pattern: str,
    emotions: dict[str, str],
    fold: Callable[[str], str | None] = lambda speaker: speaker,
    facts: Callable[[re.Match], dict[str, str]] = lambda match: {},
) -> Callable[[Path], Iterator[Recording]]:
    """Make a reader for a corpus whose file names carry emotion and speaker.

    The pattern is of "FOLDER/NAME" without its suffix, with the groups speaker, emotion and, where
    there is one, id, the part that is unique within the speaker. `emotions` maps the corpus' codes,
    and `facts` says what else the name tells.
    """
    compiled = re.compile(pattern)

    def list_recordings(data_dir: Path) -> Iterator[Recording]:
        for path in files_below(data_dir, AUDIO_SUFFIXES):
            match = compiled.search(f"{path.parent.name}/{path.stem}")
            if match is None or match["emotion"] not in emotions:
                continue
            speaker = match["speaker"]
            name = f"{speaker}_{match['id']}" if "id" in compiled.groupindex else path.stem
            label = emotions[match["emotion"]]
            known = facts(match)
            yield Recording(name, path, label, speaker, fold(speaker), facts=known)

    return list_recordings


# A line such as "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]": the
# majority's emotion, "xxx" where there is none. Single annotators' lines ("C-E2: Neutral; ()")
# follow, and the head of the file names the columns after a "%".
EVALUATION = re.compile(
    r"^\[[\d.]+ - [\d.]+\]\s+"
    r"(?P<id>Ses(?P<session>\d\d)[FM]_\w+_(?P<gender>[FM])\w+)\s+"
    r"(?P<emotion>[a-z]{3})\s"
)
SEXES = {"F": "female", "M": "male"}
IEMOCAP_EMOTIONS = {
    "ang": "angry",
    "sad": "sad",
    "neu": "neutral",
    "hap": "positive",
    "exc": "positive",
}


def list_iemocap(data_dir: Path) -> Iterator[Recording]:
    """List the turns of Session1..5/dialog/EmoEvaluation/*.txt with one of the four emotions.

    Only the files of the folder itself count: those of its subfolders hold the answers of single
    annotators. The letter after the dialog's name is the speaker; the one before it is who wore the
    motion capture markers.
    """
    for evaluation in sorted(data_dir.glob("Session[1-5]/dialog/EmoEvaluation/Ses*.txt")):
        session_dir = evaluation.parents[2]
        # The release is ASCII but for comments of single annotators.
        for line in evaluation.read_text(encoding="latin-1").splitlines():
            match = EVALUATION.match(line)
            if match is None or match["emotion"] not in IEMOCAP_EMOTIONS:
                continue
            path = session_dir / "sentences" / "wav" / evaluation.stem / f"{match['id']}.wav"
            if not path.is_file():
                raise MissingInputError(
                    f"no file {path}, which {evaluation} names; unpack IEMOCAP_full_release again"
                )
            yield Recording(
                id=match["id"],
                path=path,
                label=IEMOCAP_EMOTIONS[match["emotion"]],
                speaker=f"Ses{match['session']}{match['gender']}",
                fold=session_dir.name,
                facts={"sex": SEXES[match["gender"]]},
            )


# In the order of their codes.
RAVDESS_EMOTIONS = (
    *("neutral", "calm", "happy", "sad", "angry"),
    *("fearful", "disgust", "surprised"),
)
RAVDESS_LAYOUT = "Actor_01/03-01-05-01-01-01-01.wav"
RAVDESS_SOURCE = "Livingstone and Russo 2018; CC BY-NC-SA 4.0"


def ravdess_reader(emotions: dict[str, str]) -> Callable[[Path], Iterator[Recording]]:
    """Make a reader of the emotions with these codes, from 01 to 08."""
    return from_names(
        # Audio only (03) and speech (01): the corpus also has films and songs.
        r"/03-01-(?P<emotion>\d\d)-(?P<intensity>0[12])-(?P<statement>0[12])-\d\d"
        r"-(?P<speaker>\d\d)$",
        emotions,
        # Six folds of four actors in order, two women and two men each.
        fold=lambda actor: str((int(actor) - 1) // 4 + 1),
        # The actors with odd numbers are men.
        facts=lambda match: {
            "sex": SEXES["FM"[int(match["speaker"]) % 2]],
            "intensity": {"01": "normal", "02": "strong"}[match["intensity"]],
            "statement": {"01": "Kids are talking", "02": "Dogs are sitting"}[match["statement"]],
        },
    )


CORPORA = {
    "iemocap": OtherCorpus(
        layout="Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and "
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
        # Happy (595) and excited (1,041) are one, as in the paper (section 2.1).
        counts={"angry": 1103, "sad": 1084, "neutral": 1708, "positive": 1636},
        list_recordings=list_iemocap,
        source="Busso et al. 2008; on request from the University of Southern California",
    ),
    "ravdess": OtherCorpus(
        layout=RAVDESS_LAYOUT,
        # Neutral (96) and calm (192) are one: calm is what Dusha's annotators would call neutral.
        counts={"angry": 192, "sad": 192, "neutral": 288, "positive": 192},
        list_recordings=ravdess_reader(
            {"01": "neutral", "02": "neutral", "03": "positive", "04": "sad", "05": "angry"}
        ),
        source=RAVDESS_SOURCE,
    ),
    # As most studies report it.
    "ravdess_8": OtherCorpus(
        layout=RAVDESS_LAYOUT,
        counts={"neutral": 96} | dict.fromkeys(RAVDESS_EMOTIONS[1:], 192),
        list_recordings=ravdess_reader(
            {f"{number:02}": emotion for number, emotion in enumerate(RAVDESS_EMOTIONS, 1)}
        ),
        source=RAVDESS_SOURCE,
    ),
    "emodb": OtherCorpus(
        layout="wav/03a01Wa.wav",
        counts={"angry": 127, "sad": 62, "neutral": 79, "positive": 71},
        # Speaker, text, emotion in German (Wut, Trauer, Freude), version.
        list_recordings=from_names(
            r"/(?P<speaker>\d\d)[ab]\d\d(?P<emotion>[A-Z])[a-z]$",
            {"W": "angry", "T": "sad", "N": "neutral", "F": "positive"},
        ),
        source="Burkhardt et al. 2005; free to use",
    ),
    "crema_d": OtherCorpus(
        layout="AudioWAV/1001_IEO_ANG_HI.wav",
        counts={"angry": 1271, "sad": 1271, "neutral": 1087, "positive": 1271},
        # 91 speakers: no usual folds.
        list_recordings=from_names(
            r"/(?P<speaker>\d{4})_[A-Z]{3}_(?P<emotion>[A-Z]{3})_(?:LO|MD|HI|XX?)$",
            {"ANG": "angry", "SAD": "sad", "NEU": "neutral", "HAP": "positive"},
            fold=lambda speaker: None,
        ),
        source="Cao et al. 2014; Open Database License",
    ),
    "savee": OtherCorpus(
        layout="AudioData/DC/a01.wav or DC_a01.wav",
        counts={"angry": 60, "sad": 60, "neutral": 120, "positive": 60},
        list_recordings=from_names(
            r"(?:^|/)(?P<speaker>DC|JE|JK|KL)[/_](?P<id>(?P<emotion>[a-z]{1,2})\d\d)$",
            {"a": "angry", "sa": "sad", "n": "neutral", "h": "positive"},
        ),
        source="Jackson and Haq 2014; on request, for research",
    ),
    "tess": OtherCorpus(
        layout="OAF_angry/OAF_back_angry.wav",
        counts={"angry": 400, "sad": 400, "neutral": 400, "positive": 400},
        # One file of the older actress is published as OA_bite_neutral.wav.
        list_recordings=from_names(
            r"/(?P<speaker>OA|YA)F?_(?P<id>[a-z]+_(?P<emotion>[a-z]+))$",
            {"angry": "angry", "sad": "sad", "neutral": "neutral", "happy": "positive"},
        ),
        source="Pichora-Fuller and Dupuis 2020; CC BY-NC 4.0",
    ),
}
