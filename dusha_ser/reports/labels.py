"""Which clips of a prepared corpus to hear again: their crowd and a model disagree the most."""

import base64
import logging
import mimetypes
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dusha_ser.corpus.configurations import RAW
from dusha_ser.corpus.dataset_card import Prepared, default_name, find_prepared
from dusha_ser.corpus.named import split_spelling
from dusha_ser.errors import MissingInputError, WrongUseError
from dusha_ser.evaluation.predictions import Probabilities, read_probabilities
from dusha_ser.labels.model_agreement import MOST_CELLS, cleanlab_consensus, label_trust
from dusha_ser.reports.page import Block, Clip, Clips, Table, Text, write_page
from dusha_ser.storage import replacing_folder, write_csv
from dusha_ser.tables import number_cell

logger = logging.getLogger(__name__)

NAME = "labels"
COLUMNS = ("id", "label", "answers", "label_probabilities", "votes", "duration")
IN_SAMPLE = (
    "The predictions do not say which fold tested each clip. If the model was trained on these "
    "clips, it has learnt their wrong labels, and most of them do not show here: take the "
    "predictions of `dusha cross-validate`."
)
EXPLANATION = (
    "The most doubtful labels come first. Trust is the probability of the label if the answers and "
    "the model are taken as independent evidence: the share of the answers, with one more for each "
    "label, times the model's probability. The crowd's probability is that of the aggregation, as "
    "in the corpus."
)
CLEANLAB = " Consensus is that of annotators and model by cleanlab (CROWDLAB), with its quality."


@dataclass(frozen=True)
class Judged:
    """Clips with their labels, the most doubtful first, and all that speaks for other labels.

    Attributes:
        names: of the labels that the crowd could give, in the order of all columns below.
        ids: of the clips.
        splits: of the clips.
        label: int64 (clips,), in the corpus.
        crowd: float64 (clips, labels), the aggregation's probabilities.
        votes: int64 (clips, labels).
        model: float64 (clips, labels), 0 for labels that the model does not know.
        trust: float64 (clips,), from 0 to 1.
        consensus: int64 (clips,), cleanlab's label, -1 where there is none; None without cleanlab.
        quality: float64 (clips,), of the consensus; None without cleanlab.
        annotators: who gave which answer, by clip; empty where the corpus does not say.
        out_of_fold: whether a fold is known of each prediction.
    """

    names: tuple[str, ...]
    ids: np.ndarray
    splits: np.ndarray
    label: np.ndarray
    crowd: np.ndarray
    votes: np.ndarray
    model: np.ndarray
    trust: np.ndarray
    consensus: np.ndarray | None = None
    quality: np.ndarray | None = None
    annotators: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    out_of_fold: bool = True


def open_corpus(spelling: str) -> tuple[Prepared, Prepared | None, str | None]:
    """Open FOLDER[:CONFIGURATION[:SPLIT]]; give the configuration, the answers and the split.

    Raises:
        MissingInputError: there is no such corpus, configuration or split.
        WrongUseError: the configuration has no crowd's labels.
    """
    folder, name, split = split_spelling(spelling)
    prepared = {one.name: one for one in find_prepared(Path(folder))}
    labelled = [one for one in prepared if one != RAW]
    if not labelled:
        raise MissingInputError(
            f"{folder} holds no prepared corpus with labels: name a folder that `dusha corpus` "
            "wrote"
        )
    name = name or default_name(labelled)
    if name not in labelled:
        raise MissingInputError(
            f"there is no configuration {name!r} with labels: {folder} has {', '.join(labelled)}"
        )
    chosen = prepared[name]
    if missing := [column for column in COLUMNS if column not in chosen.features]:
        raise WrongUseError(f"configuration {name} of {folder} has no column {missing[0]}")
    if split is not None and split not in chosen.shards:
        raise MissingInputError(
            f"{folder}:{name} has no split {split!r}; it has {', '.join(chosen.shards)}"
        )
    return chosen, prepared.get(RAW), split


def judge_labels(spelling: str, predictions: Path, sort: str = "trust") -> Judged:
    """Compare the labels of a prepared corpus with a model's predictions.

    Args:
        spelling: FOLDER[:CONFIGURATION[:SPLIT]].
        predictions: file of a model's predictions, best those of a cross-validation.
        sort: "trust", or "cleanlab" for its consensus.

    Raises:
        MissingInputError: the corpus or the file is missing.
        WrongUseError: no prediction is of a clip of the corpus, or cleanlab is asked for and
            cannot be used.
    """
    chosen, raw, split = open_corpus(spelling)
    found = read_probabilities(predictions)
    if found.folds is None:
        logger.warning("%s: %s", predictions, IN_SAMPLE)
    parts = [
        pq.read_table(paths, columns=list(COLUMNS)).append_column(
            "split", pa.array([name] * sum(pq.read_metadata(path).num_rows for path in paths))
        )
        for name, paths in chosen.shards.items()
        if split in (None, name)
    ]
    table = pa.concat_tables(parts)
    places = match_clips(table["id"].to_pylist(), found)
    table = table.filter(pa.array(places >= 0))
    if not len(table):
        raise WrongUseError(
            f"none of the {len(found.ids)} clips of {predictions} is in {spelling}; the first is "
            f"{found.ids[0]}"
        )
    classes, names = chosen.features["label"].names, tuple(table["answers"][0].as_py())
    unknown = [label for label in found.labels if label not in names]
    if unknown:
        raise WrongUseError(
            f"the model of {predictions} knows the label {unknown[0]}, which the crowd could not "
            f"give; its answers are {', '.join(names)}"
        )
    model = np.zeros((len(table), len(names)))
    own = found.probabilities[places[places >= 0]]
    model[:, [names.index(label) for label in found.labels]] = own / own.sum(axis=1, keepdims=True)
    label = np.array([names.index(classes[one]) for one in table["label"].to_pylist()])
    crowd, votes = (
        np.array(table[name].to_pylist()).reshape(len(table), len(names))
        for name in ("label_probabilities", "votes")
    )
    ids = np.array(table["id"].to_pylist())
    annotators = read_annotators(raw, ids) if raw else {}
    consensus, quality = None, None
    if problem := cleanlab_problem(annotators, len(ids)):
        if sort == "cleanlab":
            raise WrongUseError(f"`sort=cleanlab` cannot be had: {problem}")
    else:
        consensus, quality = cleanlab_consensus(code_annotators(annotators, ids, names), model)
    trust = label_trust(votes, model, label)
    score = trust
    if sort == "cleanlab" and consensus is not None and quality is not None:
        score = np.where(consensus == label, quality, 1 - quality)
    order = np.argsort(score, kind="stable")
    return Judged(
        names=names,
        ids=ids[order],
        splits=np.array(table["split"].to_pylist())[order],
        label=label[order],
        crowd=crowd[order],
        votes=votes[order],
        model=model[order],
        trust=trust[order],
        consensus=None if consensus is None else consensus[order],
        quality=None if quality is None else quality[order],
        annotators=annotators,
        out_of_fold=found.folds is not None,
    )


def match_clips(ids: list[str], found: Probabilities) -> np.ndarray:
    """Find the prediction of each clip, by its id or a file of this name: int64, -1 for none."""
    places = {Path(name).stem: place for place, name in enumerate(found.ids)}
    places |= {name: place for place, name in enumerate(found.ids)}
    return np.array([places.get(name, -1) for name in ids], np.int64)


def read_annotators(raw: Prepared, ids: np.ndarray) -> dict[str, list[tuple[str, str]]]:
    """Read who answered what to some clips: (annotator, answer) by clip."""
    wanted, answers = pa.array(ids), dict[str, list[tuple[str, str]]]()
    for paths in raw.shards.values():
        table = pq.read_table(paths, columns=["id", "annotator_id", "annotator_emotion"])
        table = table.filter(pc.is_in(table["id"], value_set=wanted))
        for clip, *answer in zip(*(column.to_pylist() for column in table.columns), strict=True):
            answers.setdefault(clip, []).append((answer[0], answer[1]))
    return answers


def cleanlab_problem(annotators: dict[str, list[tuple[str, str]]], clips: int) -> str:
    """Say why cleanlab cannot be asked; "" where it can."""
    try:
        import cleanlab  # noqa: F401
    except ImportError as error:
        return f'cleanlab is not installed ({error}): pip install "dusha-ser[report]"'
    if not annotators:
        return (
            "the corpus does not say who answered; add the answers to its folder by `dusha corpus "
            "raw`"
        )
    people = len({name for answers in annotators.values() for name, _ in answers})
    if people * clips > MOST_CELLS:
        return f"{clips} clips times {people} annotators are too many for its table"
    return ""


def code_annotators(
    annotators: dict[str, list[tuple[str, str]]], ids: np.ndarray, names: tuple[str, ...]
) -> np.ndarray:
    """Turn answers into cleanlab's table: float (clips, annotators), NaN where there is none."""
    people = sorted({name for answers in annotators.values() for name, _ in answers})
    columns = {name: place for place, name in enumerate(people)}
    coded = np.full((len(ids), len(people)), np.nan)
    for row, clip in enumerate(ids):
        for name, answer in annotators.get(clip, ()):
            coded[row, columns[name]] = names.index(answer)
    return coded


def write_report(
    judged: Judged, spelling: str, output_dir: Path, clips: int, overwrite: bool = False
) -> list[str]:
    """Write the page on the first `clips` and the table of all; return the files' names.

    Raises:
        WrongUseError: if one of them is there and may not be replaced.
    """
    chosen, _, _ = open_corpus(spelling)
    sounds = read_sounds(chosen, judged.ids[:clips])
    with replacing_folder(output_dir, overwrite=overwrite, merge=True) as folder:
        rows = [table_row(judged, place) for place in range(len(judged.ids))]
        write_csv(folder / f"{NAME}.csv", rows[0], rows)
        write_page("Labels to hear again", make_blocks(judged, clips, sounds), folder, NAME)
    return [f"{NAME}.{suffix}" for suffix in ("html", "md", "csv")]


def read_sounds(chosen: Prepared, ids: np.ndarray) -> dict[str, str]:
    """Read the recordings of some clips as addresses that hold them, by clip."""
    if "audio" not in chosen.features:
        return {}
    found, wanted = {}, pa.array(ids)
    for path in (path for paths in chosen.shards.values() for path in paths):
        for group in range(pq.ParquetFile(path).num_row_groups):
            file = pq.ParquetFile(path)
            near = pc.is_in(file.read_row_group(group, ["id"])["id"], value_set=wanted)
            if not pc.any(near).as_py():
                continue
            rows = file.read_row_group(group, ["id", "audio"]).filter(near).to_pylist()
            for row in rows:
                if content := (row["audio"] or {}).get("bytes"):
                    kind = mimetypes.guess_type(row["audio"]["path"] or "")[0] or "audio/wav"
                    text = base64.b64encode(content).decode()
                    found[row["id"]] = f"data:{kind};base64,{text}"
    return found


def table_row(judged: Judged, place: int) -> dict[str, object]:
    """Return a clip's row of the CSV file."""
    label, model = judged.label[place], judged.model[place]
    row: dict[str, object] = {
        "rank": place + 1,
        "id": judged.ids[place],
        "split": judged.splits[place],
        "label": judged.names[label],
        "model_label": judged.names[model.argmax()],
        "trust": f"{judged.trust[place]:.4f}",
    }
    if judged.consensus is not None and judged.quality is not None:
        known = judged.consensus[place] >= 0
        row["consensus"] = judged.names[judged.consensus[place]] if known else ""
        row["consensus_quality"] = f"{judged.quality[place]:.4f}" if known else ""
    for number, name in enumerate(judged.names):
        row[f"votes_{name}"] = judged.votes[place, number]
        row[f"crowd_{name}"] = f"{judged.crowd[place, number]:.4f}"
        row[f"model_{name}"] = f"{model[number]:.4f}"
    return row


def make_blocks(judged: Judged, clips: int, sounds: dict[str, str]) -> list[Block]:
    """Return what the page shows, from top to bottom."""
    shown = [make_clip(judged, place, sounds) for place in range(min(clips, len(judged.ids)))]
    blocks: list[Block] = [
        Text(EXPLANATION + (CLEANLAB if judged.consensus is not None else "")),
        *([] if judged.out_of_fold else [Text(IN_SAMPLE.replace("`", ""))]),
        Table("Clips by their label in the corpus", count_table(judged)),
        Clips(f"The {len(shown)} most doubtful of {len(judged.ids):,} clips", shown),
        Text(f"All clips are in {NAME}.csv, in the same order."),
    ]
    return blocks


def count_table(judged: Judged) -> list[list[str]]:
    """Count clips and those whose model prefers another label, by label."""
    rows = [["label", "clips", "the model prefers another", "mean trust"]]
    other = judged.model.argmax(axis=1) != judged.label
    for number in np.unique(judged.label):
        own = judged.label == number
        rows.append(
            [
                judged.names[number],
                f"{own.sum():,}",
                f"{(other & own).sum():,}",
                number_cell(float(judged.trust[own].mean())),
            ]
        )
    return rows


def make_clip(judged: Judged, place: int, sounds: dict[str, str]) -> Clip:
    """Return what the page shows of a clip."""
    name = judged.ids[place]
    facts = [f"label {judged.names[judged.label[place]]}, trust {judged.trust[place]:.3f}"]
    if judged.consensus is not None and judged.quality is not None and judged.consensus[place] >= 0:
        label = judged.names[judged.consensus[place]]
        facts.append(f"consensus {label}, quality {judged.quality[place]:.3f}")
    answers = judged.annotators.get(name, [])
    for label, count in Counter(answer for _, answer in answers).most_common():
        people = ", ".join(person for person, answer in answers if answer == label)
        facts.append(f"{count} × {label}: {people}")
    if name not in sounds:
        facts.append("no audio in the corpus")
    rows = [
        (label, int(votes), float(crowd), float(model))
        for label, votes, crowd, model in zip(
            judged.names, judged.votes[place], judged.crowd[place], judged.model[place], strict=True
        )
    ]
    return Clip(
        title=f"{place + 1}. {name}",
        group=judged.names[judged.label[place]],
        facts=facts,
        columns=("label", "answers", "crowd", "model"),
        rows=rows,
        audio=sounds.get(name, ""),
    )
