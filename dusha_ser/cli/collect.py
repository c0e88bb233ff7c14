"""The steps of `dusha collect`, which build a corpus of your own."""

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from dusha_ser.cli.program import command, tell, tell_of_shards
from dusha_ser.collecting.options import (
    AnswerOptions,
    Cut,
    MoreOptions,
    PodcastOptions,
    PromptOptions,
    PseudoLabelOptions,
    SliceOptions,
    TaskOptions,
)
from dusha_ser.engines.options import EngineOptions
from dusha_ser.errors import WorkFailedError
from dusha_ser.shards.options import ShardOptions

if TYPE_CHECKING:
    from dusha_ser.collecting.further import Doubts


@command(
    "dusha collect slice",
    "dusha collect slice recordings 'more/**/*.mp3' --output_dir clips",
    SliceOptions,
    Cut,
    ShardOptions,
    EngineOptions,
    resumes=True,
)
def collect_slice(
    options: SliceOptions, cut: Cut, shards: ShardOptions, engine: EngineOptions
) -> None:
    """Cut recordings into clips of speech: 16 kHz, 16 bits, named by hash."""
    if shards.output_shards:
        from dusha_ser.collecting.slicing_shards import slice_in_shards
        from dusha_ser.engines.parts import choose_machines

        done = slice_in_shards(options, cut, shards, choose_machines(engine, options.quiet))
        tell_of_shards(options.quiet, *done)
        return
    engine.refuse()
    from dusha_ser.audio.finding import list_audio_files

    files = list_audio_files(options.inputs, options.path_column)
    # Only now, because it takes seconds that a misspelled path need not wait for.
    from dusha_ser.collecting.slicing import RECORDINGS_FILE, slice_recordings

    rows = slice_recordings(
        files, options.output_dir, cut, options.source, options.quiet, options.overwrite
    )
    clips = sum(row["clips"] for row in rows)
    tell(options.quiet, f"{clips} clips of {len(rows)} recordings written to {options.output_dir}")
    if failed := {row["path"]: row["error"] for row in rows if row["error"] is not None}:
        from dusha_ser.audio.problems import count_reasons

        raise WorkFailedError(
            f"{len(failed)} of {len(rows)} recordings failed: {count_reasons(failed)}; see the "
            f"error column of {options.output_dir / RECORDINGS_FILE}"
        )


@command(
    "dusha collect pseudo-label",
    "dusha collect pseudo-label clips --model runs/crowd_large --number 5000 --output_file "
    "clips/picked.csv",
    PseudoLabelOptions,
    EngineOptions,
    resumes=True,
)
def collect_pseudo_label(options: PseudoLabelOptions, engine: EngineOptions) -> None:
    """Add a model's probabilities to clips, and pick those to annotate."""
    if options.output_shards:
        from dusha_ser.collecting.picking_shards import pick_in_shards
        from dusha_ser.engines.parts import choose_machines

        job, outcome, chosen = pick_in_shards(options, choose_machines(engine, options.quiet))
        if chosen:
            tell(options.quiet, f"{len(chosen)} clips picked: {options.output_file}")
        tell_of_shards(options.quiet, job, outcome)
        return
    engine.refuse()
    from dusha_ser.collecting.picking import label_clips, write_picked

    rows = label_clips(options)
    chosen = write_picked(rows, options)
    counts = sorted(Counter(row["prediction"] for row in chosen).items())
    told = ", ".join(f"{count} {label}" for label, count in counts)
    picked = f"{len(chosen)} of {len(rows)} clips picked ({told}): {options.output_file}"
    tell(options.quiet, picked)
    if failed := {row["id"]: row["error"] for row in rows if row["error"]}:
        from dusha_ser.audio.problems import count_reasons

        raise WorkFailedError(
            f"{len(failed)} of {len(rows)} clips failed: {count_reasons(failed)}; see the error "
            f"column of {options.predictions_file}"
        )


@command(
    "dusha collect tasks",
    "  dusha collect tasks clips/picked.csv --known known.csv --output_dir round1 --audio_url "
    "https://a-bucket.example/round1/\n"
    "  dusha collect tasks round1 --more answers.csv --output_dir round2",
    TaskOptions,
    MoreOptions,
)
def collect_tasks(options: TaskOptions, more: MoreOptions) -> None:
    """Write annotation tasks with control tasks among them, and an exam to pass first.

    With --more, tasks of the clips alone whose label the present answers leave unsure.
    """
    from dusha_ser.collecting.tasks import CLIP, CONTROL, EXAM, KEY_FILE, UPLOAD, write_tasks

    doubts = None
    if more.more:
        from dusha_ser.collecting.further import find_doubts

        doubts = find_doubts(options, more)
        if not doubts.again.items:
            tell(options.quiet, f"no tasks written: {describe_doubts(doubts, more)}")
            return
    counts = write_tasks(options, doubts.again if doubts else None)
    tell(
        options.quiet,
        f"{counts[CLIP]} clips, {counts[CONTROL]} control tasks and an exam of {counts[EXAM]} in "
        f"{options.output_dir / UPLOAD}; {counts['repeated']} clips left out that are known or "
        f"come twice; keep {options.output_dir / KEY_FILE} to yourself"
        + (f"\n{describe_doubts(doubts, more)}" if doubts else ""),
    )
    if counts["unreadable"]:
        raise WorkFailedError(
            f"{counts['unreadable']} clips of {options.clips} cannot be read and became no tasks"
        )


def describe_doubts(doubts: "Doubts", more: MoreOptions) -> str:
    """Say how many clips are unsure, how many answers to order, and how many that saves."""
    asked = len(doubts.again.items)
    text = (
        f"{asked + doubts.given_up} of {doubts.clips} clips are unsure (below {more.threshold:g})"
    )
    if doubts.given_up:
        text += (
            f", {doubts.given_up} of them with too many answers for {more.further} more within "
            f"--budget {more.budget}"
        )
    if asked:
        every = doubts.clips * more.further
        text += (
            f"; order {more.further} answers to each task: {asked * more.further} in place of "
            f"{every} to all clips, {every - asked * more.further} saved"
        )
    return text


@command(
    "dusha collect answers",
    "dusha collect answers round1 answers.csv export.json --output_dir collected",
    AnswerOptions,
)
def collect_answers(options: AnswerOptions) -> None:
    """Turn the crowd's answers into the raw layout of the corpus, which `dusha corpus` reads."""
    from dusha_ser.collecting import answers

    counts = answers.collect_answers(options)
    uncounted = answers.describe_uncounted(counts)
    parts = [answers.TRAIN, *([answers.TEST] if counts["test"] else [])]
    words = ["dusha", "corpus", "crowd", "--data_dir", str(options.output_dir)]
    tell(
        options.quiet,
        f"{counts['answers']} answers to {counts['clips']} clips ({counts['train']} train, "
        f"{counts['test']} test) written to {options.output_dir}; {counts['failed']} of "
        f"{counts['annotators']} annotators failed the exam, whose {counts['left_out']} answers "
        f"are dropped, see {options.output_dir / answers.ANNOTATORS_FILE}"
        + (f"; answers that do not count: {uncounted}" if uncounted else "")
        + f"\nNext: {shlex.join([*words, '--parts', ','.join(parts)])}",
    )


@command(
    "dusha collect prompts",
    "dusha collect prompts texts.csv --output_file prompts.csv --number 1000",
    PromptOptions,
)
def collect_prompts(options: PromptOptions) -> None:
    """Turn texts into recording tasks for acted speech, each with a pair of emotions."""
    from dusha_ser.collecting.prompts import make_prompts, read_texts, write_prompts

    prompts = make_prompts(*read_texts(options), options.number, options.seed, options.language)
    write_prompts(options.output_file, prompts, options.overwrite)
    tell(options.quiet, f"{len(prompts)} recording tasks written to {options.output_file}")


@command(
    "dusha collect podcast",
    "dusha collect podcast archives/podcast.tar podcasts --output_dir archives/podcast_audio",
    PodcastOptions,
    resumes=True,
)
def collect_podcast(options: PodcastOptions) -> None:
    """Cut the clips of Dusha's podcasts out of files that you have, by the published timings."""
    from dusha_ser.collecting.podcasts import MISSING_FILE, cut_podcasts

    counts = cut_podcasts(options)
    wavs = options.output_dir / "wavs"
    tell(options.quiet, f"{counts['cut']} clips cut, {counts['there']} were there: {wavs}")
    if counts["missing"]:
        raise WorkFailedError(
            f"{counts['missing']} clips are missing; see {options.output_dir / MISSING_FILE}"
        )
