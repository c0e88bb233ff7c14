"""The command `dusha`, which hands the rest of its command line to a subcommand.

Nothing heavy is imported here: each subcommand is a module of this package, imported when it is
named; `dusha collect slice` is collect_slice of the module collect, `dusha train` is main of train.
Each reads its options before it imports more.
"""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dusha_ser.cli.program import Command, name_command, run_program, with_dashes
from dusha_ser.errors import WorkFailedError, WrongUseError

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
    "report": "report on a corpus, its annotators or labels, or results",
    "convert": "turn the released weights into a model folder",
    "export": "export a model to ONNX, or as a page for browsers",
    "demo": "serve a page that predicts emotions",
}
# What follows a command that has several.
GROUPS = {
    "collect": {
        "slice": "cut recordings into clips of speech",
        "pseudo-label": "add a model's probabilities to clips, and pick those to annotate",
        "tasks": "write annotation tasks, with control tasks and an exam",
        "answers": "turn the crowd's answers into the raw layout of the corpus",
        "prompts": "turn texts into recording tasks for acted speech",
        "podcast": "cut the clips of Dusha's podcasts out of files that you have",
    },
    "report": {
        "corpus": "tables and figures of the paper, from a prepared corpus",
        "annotators": "how well each annotator answers, and how well the crowd agrees",
        "labels": "which labels to hear again: crowd and model disagree about them",
        "results": "results of models on test sets as one page",
    },
    "export": {
        "page": "a page in which the model runs, without a server",
    },
}
# Those of them that also do something by themselves: `dusha export MODEL FILE.onnx`.
ALONE = {"export"}
COMPLETION = 'eval "$(register-python-argcomplete dusha)"'


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run the command that a command line names; return the exit status, where None counts as 0.

    Messages of the errors that it raises name options with dashes.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if "_ARGCOMPLETE" in os.environ:
        complete(os.environ["COMP_LINE"].split()[1:])
    if arguments[:1] == ["--version"]:
        from dusha_ser import __version__

        print(__version__)
        return None
    try:
        return dispatch("dusha", COMMANDS, arguments or ["--help"])
    except (WrongUseError, WorkFailedError) as error:
        error.args = (with_dashes(str(error)),)
        raise


def dispatch(command: str, commands: Mapping[str, str], arguments: Sequence[str]) -> int | None:
    """Hand arguments to the command that the first of them names; `command` is the words so far."""
    name_command(command)
    if not arguments:
        raise WrongUseError(f"a command is missing; take one of {', '.join(commands)}")
    word, *rest = arguments
    if word in ("-h", "--help"):
        print(help_text(command, commands))
        return None
    if word not in commands:
        near = difflib.get_close_matches(word, commands, n=1)
        advice = f"did you mean {near[0]}?" if near else f"take one of {', '.join(commands)}"
        raise WrongUseError(f"unknown command {word!r}; {advice}")
    command = f"{command} {word}"
    if has_steps(word, rest):
        return dispatch(command, GROUPS[word], rest)
    name_command(command)
    sys.argv = [command, *rest]
    return find_command(command)(rest)


def has_steps(word: str, rest: Sequence[str]) -> bool:
    """Whether the word behind a command names one of several steps; `rest` is what follows it."""
    return word in GROUPS and (word not in ALONE or rest[:1] in [[step] for step in GROUPS[word]])


def list_commands() -> list[tuple[str, ...]]:
    """The words behind `dusha` of all commands.

    Examples:
        >>> [words for words in list_commands() if words[0] == "export"]
        [('export',), ('export', 'page')]
    """
    single = [(word,) for word in COMMANDS if word not in GROUPS or word in ALONE]
    return sorted(single + [(word, step) for word, steps in GROUPS.items() for step in steps])


def find_command(command: str) -> Any:
    """Import the function of a command, such as report.report_corpus of "dusha report corpus"."""
    module, *step = command.replace("-", "_").split()[1:]
    name = "_".join([module, *step]) if step else "main"
    return getattr(importlib.import_module(f"dusha_ser.cli.{module}"), name)


def help_text(command: str, commands: Mapping[str, str]) -> str:
    """List the commands that may follow a command."""
    listed = "\n".join(f"  {name:<16}{meaning}" for name, meaning in commands.items())
    usage = f"usage: {command} COMMAND [--help] [options]\n\n"
    if command != "dusha":
        meaning = COMMANDS[command.split()[1]]
        return f"{usage}{meaning.capitalize()}.\n\ncommands:\n{listed}"
    return (
        f"{usage}The Dusha corpus of Russian emotional speech and its model.\n\n"
        f"commands:\n{listed}\n\n"
        "options:\n  -h, --help      show this list\n  --version       show the version\n\n"
        f"Completion in bash or zsh: {COMPLETION}"
    )


def complete(words: Sequence[str]) -> None:
    """Answer a shell that asks what may follow the words of a command line, and exit."""
    import argcomplete

    parser = argparse.ArgumentParser(prog="dusha")
    add_completions(parser, "dusha", COMMANDS, words)
    argcomplete.autocomplete(parser)


def add_completions(
    parser: argparse.ArgumentParser, command: str, commands: Mapping[str, str], words: Sequence[str]
) -> None:
    """Add the commands that may follow to a parser, and the options of the one that is named."""
    following = parser.add_subparsers()
    for name, meaning in commands.items():
        following.add_parser(name, help=meaning)
    if not words or words[0] not in commands:
        return
    word, command = words[0], f"{command} {words[0]}"
    if has_steps(word, words[1:]):
        add_completions(following.choices[word], command, GROUPS[word], words[1:])
    else:
        main = find_command(command)
        made_by = main if isinstance(main, Command) else sys.modules[main.__module__]
        following.choices[word] = made_by.make_parser()


def run() -> None:
    """Run the command and leave the interpreter with its status."""
    run_program(main)
