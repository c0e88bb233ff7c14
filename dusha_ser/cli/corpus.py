"""The command `dusha corpus`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from dusha_ser import options as shared
from dusha_ser.cli.program import command
from dusha_ser.corpus.configurations import CONFIGURATIONS, EXPORT_FORMATS, check_name
from dusha_ser.corpus.options import CorpusOptions, SourceOptions
from dusha_ser.engines.options import EngineOptions
from dusha_ser.errors import WrongUseError
from dusha_ser.options import option, split_list
from dusha_ser.storage import check_folder


def archive_checksums(text: str) -> list[tuple[str, str]]:
    """Split "ARCHIVE=KIND:HEX,..." of the command line."""
    pairs = [one.partition("=") for one in split_list(text)]
    if not all(equals for _, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form ARCHIVE=KIND:HEX")
    return [(name, checksum) for name, _, checksum in pairs]


def export_formats(text: str) -> list[str]:
    """Split "FORMAT,..." of the command line."""
    for name in split_list(text):
        if name not in EXPORT_FORMATS:
            raise argparse.ArgumentTypeError(
                f"there is no export {name!r}: take one or more of {', '.join(EXPORT_FORMATS)}"
            )
    return list(split_list(text))


@dataclass
class FolderOptions:
    """What is written where, beside the dataset folder too."""

    names: list[str] = option(
        f"one or more of {', '.join(CONFIGURATIONS)} (default crowd)",
        ["crowd"],
        positional=True,
        nargs="*",
        metavar="CONFIGURATION",
    )
    output_dir: str = option("dataset folder to write or add to", "dusha")
    checksum: list[tuple[str, str]] = option(
        "sha256 or md5 that an archive must have, such as crowd.tar=md5:9e10...",
        [],
        type=archive_checksums,
        metavar="ARCHIVE=KIND:HEX",
    )
    export: list[str] = option(
        "also write OUTPUT_DIR/exports/CONFIGURATION for other toolkits: "
        f"{', '.join(EXPORT_FORMATS)}",
        [],
        type=export_formats,
        metavar="FORMAT",
    )
    export_audio: bool = option("extract the recordings there as well", False)
    push_to_hub: str | None = option(
        "push the configurations to a dataset on the Hub", None, metavar="USER/NAME"
    )
    private: bool | None = option("make a new dataset there private", None)
    overwrite: bool = shared.overwrite()
    quiet: bool = shared.quiet()

    def check(self) -> None:
        """Raise a WrongUseError if there is no such configuration, or nothing to make private."""
        for name in self.names:
            check_name(name)
        if self.private is not None and not self.push_to_hub:
            raise WrongUseError("`private` says how to push: give `push_to_hub=USER/NAME` with it")
        check_folder(self.output_dir)


@command(
    "dusha corpus",
    "dusha corpus crowd podcast --data_dir archives --output_dir dusha",
    FolderOptions,
    SourceOptions,
    CorpusOptions,
    EngineOptions,
    resumes=True,
)
def main(
    options: FolderOptions, source: SourceOptions, corpus: CorpusOptions, engine: EngineOptions
) -> None:
    """Write configurations of the corpus as a dataset folder of Parquet shards.

    The stock `datasets.load_dataset` reads it.
    """
    corpus.check_options()
    import dusha
    from dusha_ser.corpus.exports import check_exports, export_configuration
    from dusha_ser.corpus.hub import check_login, push_folder
    from dusha_ser.corpus.summary import describe_folder, next_command
    from dusha_ser.engines.tasks import choose_mapper, choose_spread

    folder, names, quiet = options.output_dir, options.names, options.quiet
    if options.push_to_hub:
        check_login()
    written = dusha.write_folder(
        names,
        folder,
        num_proc=source.num_proc,
        quiet=quiet,
        overwrite=options.overwrite,
        spread=choose_spread(engine, quiet),
        mapper=choose_mapper(engine, quiet),
        data_dir=source.data_dir,
        base_url=source.base_url,
        checksums=dict(options.checksum),
        archive_dir=source.cache_dir,
        **vars(corpus),
    )
    print(f"{folder}: {', '.join(written) or 'nothing new'} written")
    if not quiet:
        print(describe_folder(Path(folder), names))
    if options.export or options.export_audio:
        check_exports(folder, names, options.export)
        for name in names:
            place = export_configuration(
                folder, name, options.export, options.export_audio, quiet, options.overwrite
            )
            print(f"{place} written")
    if options.push_to_hub:
        address = push_folder(folder, names, options.push_to_hub, options.private)
        print(f"{address}: {', '.join(names)} pushed")
    if not quiet:
        print(f"Next: {next_command(Path(folder), names, source)}")
