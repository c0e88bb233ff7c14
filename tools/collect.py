"""Build a corpus of your own the way Dusha was built: from recordings to labelled clips."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# The modules stand one folder up. This folder goes: `import evaluate` must find the library.
TOOLS = Path(__file__).resolve().parent
sys.path[:] = [str(TOOLS.parent), *(path for path in sys.path if Path(path).resolve() != TOOLS)]

from command_line_dusha import run_program  # noqa: E402
from tools.collect_labels import add_answers, add_pseudo_label, add_tasks  # noqa: E402
from tools.collect_sounds import add_podcast, add_prompts, add_slice  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the step that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python tools/collect.py slice recordings --output_dir clips; each step "
        "has a --help of its own, and docs/own_corpus.md shows the whole way",
        allow_abbrev=False,
    )
    steps = parser.add_subparsers(dest="step", required=True)
    for add in (add_slice, add_pseudo_label, add_tasks, add_answers, add_prompts, add_podcast):
        add(steps)
    options = parser.parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    run_program(main)
