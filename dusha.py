"""Dusha, the corpus of Russian emotional speech, as a builder of the `datasets` library.

As a library: `dusha.load_dataset("crowd", data_dir="archives")` returns a DatasetDict.
As a program: `dusha corpus crowd --output_dir dusha` writes a dataset folder, which the stock
`datasets.load_dataset("dusha", "crowd")` reads. As a loading script: `datasets` 3.6 takes this
file itself, with `trust_remote_code=True`.
"""

import contextlib
import functools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import datasets
import pyarrow as pa

from dusha_ser.archives.find import find_archives
from dusha_ser.archives.members import Members
from dusha_ser.corpus.clips import content_key
from dusha_ser.corpus.columns import corpus_features, cut_rows, read_tables, row_bytes
from dusha_ser.corpus.configurations import (
    CITATION,
    CONFIGURATIONS,
    DESCRIPTIONS,
    HOMEPAGE,
    LICENSE,
    SUMMARY,
    check_name,
)
from dusha_ser.corpus.dataset_card import refuse_foreign_folder, write_card
from dusha_ser.corpus.missing import collect_lists, note_missing
from dusha_ser.corpus.options import CorpusOptions, check_num_proc
from dusha_ser.corpus.parquet_folder import Content, Spread, is_written, write_configuration
from dusha_ser.corpus.splits import Plan, make_plan, needed_archives, needs_file
from dusha_ser.errors import WorkFailedError, WrongUseError
from dusha_ser.fingerprints import code_digest, digest
from dusha_ser.options import split_list
from dusha_ser.processes import Mapper, workers_end_with_us

# Raise it when the same archives and options give other rows.
VERSION = "1.1.0"
# Modules whose code decides features that are computed.
FEATURES_CODE = ("feature_extraction_dusha", "dusha_ser.audio", "dusha_ser.corpus.clip_sources")
# Processes get, and streams shuffle, runs of rows of about this size.
RUN_BYTES = 64 * 10**6
# Small corpora are cut into at least this many runs.
LEAST_RUNS = 16


@dataclass(eq=False)
class DushaBuilderConfig(datasets.BuilderConfig, CorpusOptions):
    """A configuration of the corpus: CorpusOptions, and where the archives come from."""

    base_url: tuple[str, ...] = ()  # http(s) or file, tried in order
    checksums: dict[str, str] = field(default_factory=dict)  # "sha256:HEX" or "md5:HEX" by archive
    # For fetched archives, indexes and aggregated labels; None: `dusha` in the Hugging Face cache.
    archive_dir: str | None = None

    def create_config_id(self, config_kwargs: dict, custom_features=None) -> str:
        """Name the configuration with its options; the archives' content is added when found."""
        self.check_options()
        return f"{self.name}-{digest(VERSION, self.as_dict())}"


class Dusha(datasets.ArrowBasedBuilder):
    """The corpus, made from its archives: answers aggregated, split, with audio as published.

    Examples:
        >>> builder = Dusha(config_name="podcast", threshold=0.8)
        >>> builder.info.features["label"].names
        ['angry', 'sad', 'neutral', 'positive']
    """

    VERSION = datasets.Version(VERSION)
    BUILDER_CONFIG_CLASS = DushaBuilderConfig
    BUILDER_CONFIGS = [
        DushaBuilderConfig(name=name, version=VERSION, description=DESCRIPTIONS[name])
        for name in CONFIGURATIONS
    ]
    DEFAULT_CONFIG_NAME = "crowd"

    _members: Members | None = None
    # Where workers note broken files; None while streaming.
    _lists_dir: str | None = None
    _bad_rows: list[dict] = []

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=f"{SUMMARY} {DESCRIPTIONS[self.config.name]}",
            features=corpus_features(self.config.name, self.config),
            homepage=HOMEPAGE,
            license=LICENSE,
            citation=CITATION,
        )

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        plan = self.make_plan()
        note_missing(self._lists_dir, "planned", plan.missing)
        self._bad_rows = plan.bad_rows
        generators = []
        for split, rows in plan.splits.items():
            sizes = row_bytes(rows, self.config.input_features)
            runs = cut_rows(sizes, min(RUN_BYTES, sizes.sum() / LEAST_RUNS))
            kwargs = {"runs": runs, "rows": rows, "split": split}
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs=kwargs))
        return generators

    def _generate_tables(
        self, runs: list[tuple[int, int]], rows: pa.Table, split: str
    ) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        for number, (start, stop) in enumerate(runs):
            tables = read_tables(rows.slice(start, stop - start), split, self.info.features)
            for batch, (table, missing) in enumerate(tables):
                note_missing(self._lists_dir, f"{split}-{start}-{batch}", missing)
                if len(table):
                    yield (number, batch), table

    def __getstate__(self) -> dict:
        # Workers get their rows; the names of 300,000 files would only slow them down.
        return {name: value for name, value in self.__dict__.items() if name != "_members"}

    def find_members(self) -> Members:
        """Find all files of the corpus, fetching the archives where no data_dir was given.

        Raises:
            MissingInputError: the folder or an archive is not there.
            WorkFailedError: an archive cannot be fetched or read.
        """
        if self._members is None:
            required, wanted = needed_archives(self.config.name, self.config)
            self._members = find_archives(
                (*required, *wanted),
                data_dir=self.config.data_dir,
                base_url=self.config.base_url or None,
                cache_dir=self.config.archive_dir,
                checksums=self.config.checksums,
                required=required,
                quiet=datasets.utils.are_progress_bars_disabled(),
            )
        return self._members

    def content_id(self) -> str:
        """Name the configuration with its options and the content of the archives."""
        name = self.config.name
        found = content_key(
            self.find_members(),
            lambda member: needs_file(name, self.config, member),
            datasets.utils.are_progress_bars_disabled(),
        )
        code = code_digest(*FEATURES_CODE) if self.config.input_features else None
        return f"{name}-{digest(VERSION, self.config.as_dict(), found, code)}"

    def make_plan(self, mapper: Mapper = map) -> Plan:
        """Decide what the configuration holds, before any audio is read.

        Args:
            mapper: parses the answers, here or on other machines.

        Raises:
            WrongUseError: a split would be empty, or files are missing.
            WorkFailedError: an archive cannot be read.
        """
        return make_plan(
            self.config.name,
            self.find_members(),
            self.config,
            self.config.archive_dir,
            datasets.utils.are_progress_bars_disabled(),
            mapper,
        )

    def download_and_prepare(self, *args, **kwargs) -> None:
        """Prepare the configuration in the cache, with the library's arguments, unless it is there.

        Raises:
            WrongUseError: a split would be empty, or files are missing.
            WorkFailedError: an archive cannot be fetched or read.
        """
        # Only now, because naming a configuration must not start a download of 28 GB.
        self.config_id = self.content_id()
        self._cache_dir = self._build_cache_dir()
        try:
            with workers_end_with_us():
                super().download_and_prepare(*args, **kwargs)
        except datasets.exceptions.DatasetGenerationError as error:
            # Our own errors' messages are enough, and the wrapping hides them.
            if isinstance(error.__cause__, (WrongUseError, WorkFailedError)):
                raise error.__cause__ from error
            if isinstance(error.__cause__, OSError):
                raise WorkFailedError(
                    f"the prepared corpus cannot be written in {self._cache_dir} "
                    f"({error.__cause__}): make room, or name another "
                    "folder as `cache_dir`, and start again"
                ) from error
            raise

    def _download_and_prepare(self, dl_manager, verification_mode, **kwargs) -> None:
        # What a killed run left in the folder of the unfinished result is not part of it.
        shutil.rmtree(self._output_dir)
        self._fs.makedirs(self._output_dir)
        self._lists_dir = self._output_dir
        super()._download_and_prepare(dl_manager, verification_mode, **kwargs)
        collect_lists(self._output_dir, self._bad_rows)


def load_dataset(
    name: str = "crowd",
    *,
    data_dir: str | None = None,
    base_url: str | list[str] | None = None,
    cache_dir: str | None = None,
    split: str | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    quiet: bool = False,
    **options,
) -> (
    datasets.DatasetDict
    | datasets.Dataset
    | datasets.IterableDatasetDict
    | datasets.IterableDataset
):
    """Load a configuration of the corpus, preparing it first where it is not in the cache.

    Args:
        name: one of `dusha_ser.corpus.configurations.CONFIGURATIONS`.
        data_dir: folder of archives, of their unpacked files, or of any mix.
        base_url: address or addresses, also as text with commas, to fetch the archives from where
            there is no data_dir; None: where they were published.
        cache_dir: folder for all that is kept; None: the Hugging Face cache.
        split: "train", "test" or "validation"; None: all.
        streaming: whether to read the archives as rows are asked for, preparing nothing.
        num_proc: number of processes; None: one.
        quiet: whether to show no progress bars.
        **options: fields of `dusha_ser.corpus.options.CorpusOptions`, and checksums.

    Returns:
        A DatasetDict by split, or the Dataset of the split asked for; their iterable kinds where
        streaming.

    Raises:
        WrongUseError: no such configuration or option, an empty split, missing files.
        WorkFailedError: an archive cannot be fetched or read.
    """
    check_name(name)
    check_num_proc(num_proc)
    known = set(CorpusOptions.__dataclass_fields__) | {"checksums"}
    if unknown := sorted(set(options) - known):
        raise WrongUseError(
            f"there is no option {unknown[0]!r}: take those of {', '.join(sorted(known))}"
        )
    with no_bars(quiet):
        builder = Dusha(
            cache_dir=cache_dir,
            config_name=name,
            data_dir=data_dir,
            base_url=split_list(base_url or ()),
            archive_dir=cache_dir,
            **options,
        )
        if streaming:
            return builder.as_streaming_dataset(split)
        builder.download_and_prepare(num_proc=num_proc)
        return builder.as_dataset(split)


@contextlib.contextmanager
def no_bars(quiet: bool) -> Iterator[None]:
    """Turn the progress bars of `datasets` off inside this context, if quiet."""
    if not quiet or datasets.utils.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


def write_folder(
    names: list[str],
    output_dir: str,
    *,
    num_proc: int | None = None,
    quiet: bool = False,
    overwrite: bool = False,
    spread: Spread | None = None,
    mapper: Mapper = map,
    **source_and_options,
) -> list[str]:
    """Write configurations into a dataset folder that the stock `load_dataset` reads.

    Args:
        names: of the configurations; what the folder holds of others stays.
        output_dir: the folder.
        num_proc: number of processes; None: one.
        quiet: whether to show no progress bars.
        overwrite: whether to write these configurations again, and replace those that were made
            with other options or of other archives.
        spread: writes the shards elsewhere than in processes of this machine.
        mapper: does what the built-in `map` does, and parses the answers, on other machines.
        **source_and_options: fields of `DushaBuilderConfig`.

    Returns:
        The names of those that were not there already.

    Raises:
        WrongUseError: no such configuration or option, an empty split, missing files, or the folder
            holds files of others or another corpus.
        WorkFailedError: an archive cannot be fetched or read.
    """
    for name in names:
        check_name(name)
    check_num_proc(num_proc)
    refuse_foreign_folder(output_dir)
    written, contents = [], []
    with no_bars(quiet):
        for name in names:
            builder = Dusha(config_name=name, **source_and_options)
            facts = {"options": builder.config.as_dict(), "version": VERSION}
            features, content_id = builder.info.features, builder.content_id()
            plan = functools.partial(builder.make_plan, mapper)
            contents.append(Content(name, content_id, plan, features, facts))
            is_written(output_dir, contents[-1], overwrite)
        for content in contents:
            if write_configuration(output_dir, content, num_proc, quiet, overwrite, spread):
                written.append(content.name)
            # Each time, so that what is written can be read whatever happens to the next one.
            write_card(output_dir)
    return written


if __name__ == "__main__":
    import sys

    from dusha_ser.cli.main import main
    from dusha_ser.cli.program import run_program

    run_program(lambda: main(["corpus", *sys.argv[1:]]))
