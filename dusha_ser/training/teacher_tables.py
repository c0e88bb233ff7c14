"""Tables as teachers: probabilities that somebody wrote to a file before."""

from dataclasses import dataclass
from functools import cached_property

import datasets
import pyarrow.compute

from dusha_ser.corpus.contents import copy_column
from dusha_ser.errors import WrongUseError
from dusha_ser.evaluation.predictions import Probabilities, read_probabilities
from dusha_ser.files import named_file
from dusha_ser.training.teacher_models import Copy, Tell
from dusha_ser.training.teacher_options import check_teacher


@dataclass
class TeacherTable:
    """A file of probabilities, which are found by the ids of clips or else their audio's paths.

    Attributes:
        path: .csv or .jsonl, as `dusha predict` or a cross-validation writes it, or a table of
            recordings with the columns probability_LABEL.
        path_column: that names clips in a table without the column id.
    """

    path: str
    path_column: str = "path"

    @cached_property
    def said(self) -> Probabilities:
        """All that it holds.

        Raises:
            MissingInputError: if there is no such file.
        """
        check_teacher(self.path)
        return read_probabilities(self.path, self.path_column)

    @cached_property
    def places(self) -> dict[str, int]:
        """The numbers of its rows by their ids."""
        return {name: place for place, name in enumerate(self.said.ids)}

    @cached_property
    def places_by_file(self) -> dict[str, int]:
        """The numbers of its rows by the files that their ids name."""
        return {str(named_file(name).resolve()): place for name, place in self.places.items()}

    def classify(
        self, rows: datasets.Dataset, split: str, tell: Tell = None, copy: Copy | None = None
    ) -> Probabilities:
        """Return its probabilities of rows.

        Args:
            rows: with id and, where they have it, audio.
            split: their name, for messages.
            tell: is not called; a model is given the same arguments.
            copy: of the clips whose probabilities are wanted if the file has some of it.

        Raises:
            WrongUseError: if it has no probabilities of a row.
        """
        ids = list(map(str, rows["id"]))
        of_copies = [copy_column(name, copy[1]) for name in ids] if copy else []
        if self.places.keys().isdisjoint(of_copies):
            numbers = [self.places.get(name) for name in ids]
            if None in numbers:
                files = zip(numbers, audio_files(rows), strict=True)
                numbers = [
                    self.places_by_file.get(file) if number is None else number
                    for number, file in files
                ]
        else:
            ids = of_copies
            numbers = [self.places.get(name) for name in ids]
        found = [number for number in numbers if number is not None]
        if len(found) < len(rows):
            missing = [name for name, number in zip(ids, numbers, strict=True) if number is None]
            raise WrongUseError(
                f"{self.path} has no probabilities of {len(missing)} of {len(rows)} clips of "
                f"{split}, such as {missing[0]!r}; its ids, such as {self.said.ids[0]!r}, must be "
                "those of the clips or the paths of their files"
            )
        return Probabilities(self.said.labels, ids, self.said.probabilities[found])


def audio_files(rows: datasets.Dataset) -> list[str]:
    """Return the path of each row's audio; "None": it has none."""
    if "audio" not in rows.column_names:
        return ["None"] * len(rows)
    # Of the audio only the paths: its bytes may be gigabytes.
    audio = rows.select_columns(["audio"]).with_format("arrow")[:]["audio"]
    return list(map(str, pyarrow.compute.struct_field(audio, "path").to_pylist()))
