"""Write configurations of the corpus as a dataset folder."""

import argparse
from collections.abc import Sequence
from dataclasses import fields

from dusha import no_bars, write_folder
from dusha_ser.corpus.configurations import CONFIGURATIONS
from dusha_ser.corpus.exports import FORMATS, check_exports, check_formats, export_configuration
from dusha_ser.corpus.hub import check_login, push_folder
from dusha_ser.corpus.options import CorpusOptions, name_and_checksum
from dusha_ser.errors import WrongUseError


def add_corpus_options(parser: argparse.ArgumentParser) -> None:
    """Add an argument to a parser for each field of `CorpusOptions`.

    Args:
        parser: where to add them.
    """
    for option in fields(CorpusOptions):
        name, default, described = f"--{option.name}", option.default, dict(option.metadata)
        if isinstance(default, bool):
            parser.add_argument(name, action="store_true", **described)
            continue
        if default is not None:
            described.setdefault("type", type(default))
            shown = ",".join(default) if isinstance(default, tuple) else default
            described["help"] += f" (default {shown})"
        parser.add_argument(name, default=default, **described)


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say where the archives come from, and how to work on them.

    Args:
        parser: where to add them.
    """
    parser.add_argument(
        "--data_dir",
        help="folder of archives that you fetched yourself, of their unpacked files, or of any "
        "mix (default: fetch them)",
    )
    parser.add_argument(
        "--base_url",
        action="append",
        default=[],
        help="address, http(s) or file, to fetch the archives from; give several to try them in "
        "order (default: where they were published)",
    )
    parser.add_argument(
        "--checksum",
        action="append",
        default=[],
        type=name_and_checksum,
        metavar="ARCHIVE=KIND:HEX",
        help="sha256 or md5 that an archive must have, such as crowd.tar=md5:9e10...",
    )
    parser.add_argument(
        "--cache_dir",
        help="folder for fetched archives, indexes and aggregated labels (default: in the Hugging "
        "Face cache)",
    )
    parser.add_argument("--num_proc", type=int, help="number of processes (default 1)")
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the configurations that the command line names as a dataset folder."""
    options = make_parser().parse_args(arguments)
    names = options.names or ["crowd"]
    check_formats(options.export)
    if options.push_to_hub:
        check_login()
    elif options.private:
        raise WrongUseError("private says how to push: give --push_to_hub USER/NAME with it")
    corpus_options = {name: getattr(options, name) for name in CorpusOptions.__dataclass_fields__}
    written = write_folder(
        names,
        options.output_dir,
        num_proc=options.num_proc,
        quiet=options.quiet,
        data_dir=options.data_dir,
        base_url=tuple(options.base_url),
        checksums=dict(options.checksum),
        archive_dir=options.cache_dir,
        **corpus_options,
    )
    print(f"{options.output_dir}: {', '.join(written) or 'nothing new'} written")
    if options.export or options.export_audio:
        check_exports(options.output_dir, names, options.export)
        for name in names:
            place = export_configuration(
                options.output_dir, name, options.export, options.export_audio, options.quiet
            )
            print(f"{place} written")
    if options.push_to_hub:
        with no_bars(options.quiet):
            address = push_folder(options.output_dir, names, options.push_to_hub, options.private)
        print(f"{address}: {', '.join(names)} pushed")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of this program's command line."""
    parser = argparse.ArgumentParser(
        description="Write configurations of the corpus as a dataset folder of Parquet shards, "
        "which the stock datasets.load_dataset reads.",
        epilog="example: dusha corpus crowd podcast --data_dir archives --output_dir dusha",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="CONFIGURATION",
        help=f"one or more of {', '.join(CONFIGURATIONS)} (default crowd)",
    )
    parser.add_argument(
        "--output_dir", default="dusha", help="dataset folder to write or add to (default dusha)"
    )
    add_source_options(parser)
    add_corpus_options(parser)
    parser.add_argument(
        "--export",
        action="append",
        default=[],
        metavar="FORMAT",
        help=f"write OUTPUT_DIR/exports/CONFIGURATION for other toolkits, as one of "
        f"{', '.join(FORMATS)}; give several for several",
    )
    parser.add_argument(
        "--export_audio", action="store_true", help="extract the recordings there as well"
    )
    parser.add_argument(
        "--push_to_hub", metavar="USER/NAME", help="push the configurations to a dataset on the Hub"
    )
    parser.add_argument(
        "--private", action="store_true", default=None, help="make a new dataset there private"
    )
    return parser
