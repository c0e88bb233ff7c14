"""The command `dusha`, which hands the rest of its command line to a subcommand.

Nothing heavy is imported here: each subcommand is a module of this package, imported when it is
named, with `make_parser()` and `main(arguments)`, which reads its options before it imports more.
"""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from dusha_ser.cli.program import name_command, run_program
from dusha_ser.errors import WrongUseError

# Before PyTorch starts its threads: those that wait for each other must sleep, not spin. Beside
# other programs spinning made a step five times as long; alone it gains nothing measurable.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS = {
    "corpus": "write configurations of the corpus as a dataset folder",
    "sample": "write a small synthetic corpus as archives",
    "train": "train a model",
    "predict": "predict the emotion of audio files",
    "evaluate": "evaluate models on test sets",
    "cross-validate": "cross-validate a training setup",
    "collect": "build a corpus of your own",
    "report": "report on a corpus, its annotators or results",
    "convert": "turn the released weights into a model folder",
    "export": "export a model to ONNX",
    "demo": "serve a page that predicts emotions",
}
COMPLETION = 'eval "$(register-python-argcomplete dusha)"'


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run the subcommand that a command line names.

    Args:
        arguments: of the command line; None: of the running program.

    Returns:
        The exit status; None counts as 0.

    Raises:
        WrongUseError: if there is no such subcommand.
    """
    name_command("dusha")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if "_ARGCOMPLETE" in os.environ:
        complete(os.environ["COMP_LINE"].split()[1:])
    if not arguments or arguments[0] in ("-h", "--help"):
        print(help_text())
        return None
    if arguments[0] == "--version":
        from dusha_ser import __version__

        print(__version__)
        return None
    command, *rest = arguments
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        advice = f"did you mean {near[0]}?" if near else f"take one of {', '.join(COMMANDS)}"
        raise WrongUseError(f"unknown command {command!r}; {advice}")
    name_command(f"dusha {command}")
    sys.argv = [f"dusha {command}", *rest]
    return find_command(command).main(rest)


def find_command(command: str) -> ModuleType:
    """Import the module of a subcommand."""
    return importlib.import_module(f"dusha_ser.cli.{command.replace('-', '_')}")


def help_text() -> str:
    """Return the list of all subcommands."""
    listed = "\n".join(f"  {name:<16}{meaning}" for name, meaning in COMMANDS.items())
    return (
        "usage: dusha COMMAND [--help] [options]\n\n"
        "The Dusha corpus of Russian emotional speech and its model.\n\n"
        f"commands:\n{listed}\n\n"
        "options:\n  -h, --help      show this list\n  --version       show the version\n\n"
        f"Completion in bash or zsh: {COMPLETION}"
    )


def complete(words: Sequence[str]) -> None:
    """Answer a shell that asks how the command line may go on, and exit.

    Args:
        words: of the command line so far, without the first.
    """
    import argcomplete

    parser = argparse.ArgumentParser(prog="dusha")
    commands = parser.add_subparsers()
    for name, meaning in COMMANDS.items():
        commands.add_parser(name, help=meaning)
    if words and words[0] in COMMANDS:
        commands.choices[words[0]] = find_command(words[0]).make_parser()
    argcomplete.autocomplete(parser)


def run() -> None:
    """Run the command and leave the interpreter with its status."""
    run_program(main)
