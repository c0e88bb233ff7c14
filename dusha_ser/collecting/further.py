"""Which clips need further answers: those whose label the present ones leave unsure.

Annotators agree about most clips at once. Asking everybody the same number again spends most of the
answers on these.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dusha_ser.collecting.answers import apply_exam, counted_answers, read_people, read_rounds
from dusha_ser.collecting.clips import wav_path
from dusha_ser.collecting.options import MoreOptions, TaskOptions
from dusha_ser.collecting.tasks import CLIP, UPLOAD, Again, Item
from dusha_ser.labels.aggregation import aggregate, single_labels
from dusha_ser.labels.crowd_answers import CrowdAnswers
from dusha_ser.vocabulary import ANSWERS


@dataclass(frozen=True)
class Doubts:
    """The clips of the earlier rounds whose label is unsure.

    Attributes:
        again: those to ask about again.
        clips: number of all clips, sure ones too.
        given_up: number of unsure clips that have had too many answers for further ones.
    """

    again: Again
    clips: int
    given_up: int


def find_doubts(options: TaskOptions, more: MoreOptions) -> Doubts:
    """Find the clips whose label the answers leave unsure.

    Args:
        options: `clips` is the folder of the first round, `label_map` says what answers mean.
        more: the answers, the folders of further rounds, and when a clip is unsure.

    Returns:
        The clips to ask about again, in the order of the tasks.

    Raises:
        MissingInputError: if a file or key is missing.
        WrongUseError: if an answer is not one of the labels.
    """
    more.check()
    key, files = read_rounds(options.clips, more.more)
    people, _ = read_people(files, key, more, options.label_map)
    apply_exam(people, key, more.mark)
    # A clip that stands in several rounds is asked about by its last task.
    tasks = {row["id"]: task for task, row in key.items() if row["kind"] == CLIP}
    counted = [
        (key[task]["id"], one.id, answer) for one, task, answer in counted_answers(people, key)
    ]
    had = Counter(clip for clip, _, _ in counted)
    sure = sure_clips(counted, more)
    unsure = [clip for clip in tasks if clip not in sure]
    asked = [clip for clip in unsure if had[clip] + more.further <= more.budget]
    items = [
        Item(
            id=clip,
            path=wav_path(key[tasks[clip]]["folder"] / UPLOAD, tasks[clip]),
            duration=float(key[tasks[clip]]["duration"]),
            label="",
            source_id=key[tasks[clip]]["source_id"],
            text=key[tasks[clip]]["text"],
            speaker_emotion=key[tasks[clip]]["speaker_emotion"],
            task=tasks[clip],
        )
        for clip in asked
    ]
    known = {row["id"] for row in key.values() if row["kind"] != CLIP}
    return Doubts(Again(items, known), len(tasks), len(unsure) - len(asked))


def sure_clips(counted: Sequence[tuple[str, str, str]], more: MoreOptions) -> set[str]:
    """Find clips whose label reaches the threshold, by answers of (clip, annotator, label)."""
    if not counted:
        return set()
    clips, annotators, labels = zip(*counted, strict=True)
    answers = CrowdAnswers.from_columns(clips, annotators, labels, label_names=ANSWERS)
    found = single_labels(aggregate(answers, more.method).probabilities, more.threshold)
    return {clip for clip, label in zip(answers.tasks, found, strict=True) if label >= 0}
