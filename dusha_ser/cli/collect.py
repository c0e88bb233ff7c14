"""Build a corpus of your own the way Dusha was built: from recordings to labelled clips."""

import argparse
from collections.abc import Sequence

from dusha_ser.cli.collect_labels import add_answers, add_pseudo_label, add_tasks
from dusha_ser.cli.collect_sounds import add_podcast, add_prompts, add_slice


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the step that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: dusha collect slice recordings --output_dir clips; each step "
        "has a --help of its own, and docs/collecting.md shows the whole way",
        allow_abbrev=False,
    )
    steps = parser.add_subparsers(dest="step", required=True)
    for add in (add_slice, add_pseudo_label, add_tasks, add_answers, add_prompts, add_podcast):
        add(steps)
    options = parser.parse_args(arguments)
    options.run(options)
