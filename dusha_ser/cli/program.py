"""What all subcommands share: parsers made of dataclasses, exit statuses, one-line errors."""

import argparse
import dataclasses
import difflib
import os
import re
import signal
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from dusha_ser.errors import WorkFailedError, WrongUseError

DONE = 0
WORK_FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# A parameter in a message of the library: `name`, or `name=value`.
PARAMETER = re.compile(r"`([a-z]\w*)(?:=([^`]+))?`")

Options = TypeVar("Options")


class Parser(argparse.ArgumentParser):
    """An argument parser that is made of dataclasses, and whose errors are one line.

    Each field of a dataclass is an option; its metadata hold `help` and, where they are wanted,
    `choices`, `metavar`, `nargs`, `action` or `type`, as argparse takes them, `positional`,
    `group` (the title under which --help shows it; a dataclass may have an `option_group` for all
    of its fields), and `rare`, which only --help_all shows.
    A dataclass may have a method `check`, which raises a WrongUseError where values do not fit.
    A truth value is given as --name, --name true or --name false.

    Args:
        command: the words in front of the options, such as "dusha train".
        description: what the command does.
        example: commands, shown below the options.
        options: the dataclasses.

    Examples:
        >>> @dataclasses.dataclass
        ... class Options:
        ...     folder: str = dataclasses.field(metadata={"help": "folder", "positional": True})
        ...     window: float = dataclasses.field(default=5.0, metadata={"help": "seconds"})
        >>> parser = Parser("dusha try", "Try it.", "dusha try clips", Options)
        >>> parser.parse_options(["clips", "--window", "2"])
        (Options(folder='clips', window=2.0),)
        >>> parser.parse_options(["clips", "--windows", "2"])
        Traceback (most recent call last):
        dusha_ser.errors.WrongUseError: unknown option --windows; did you mean --window?
    """

    def __init__(self, command: str, description: str, example: str, *options: type):
        super().__init__(
            prog=command,
            description=description,
            epilog=f"example: {example}" if "\n" not in example else f"examples:\n{example}",
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )
        self.dataclasses = options
        self.all_options = "--help_all" in sys.argv
        fields = [one for kind in options for one in dataclasses.fields(kind) if one.init]
        if any("rare" in one.metadata for one in fields):
            self.add_argument(
                "--help_all", action="help", help="show all options, also those of the Trainer"
            )
        groups: dict[str, Any] = {}
        for kind in options:
            hints = typing.get_type_hints(kind)
            for one in dataclasses.fields(kind):
                if one.init:
                    title = str(one.metadata.get("group") or getattr(kind, "option_group", ""))
                    if title and title not in groups:
                        groups[title] = self.add_argument_group(title)
                    self._add_field(groups.get(title, self), one, hints[one.name])
        self.usage = self._short_usage()

    def _short_usage(self) -> str:
        """What must be given; the list of options is below it, not in it."""
        words = [self.prog, "[options]"]
        for action in self._actions:
            if action.required or not action.option_strings:
                name = str(action.metavar or action.dest)
                shown = {"+": f"{name} [{name} ...]", "*": f"[{name} ...]", "?": f"[{name}]"}
                words += [*action.option_strings, shown.get(str(action.nargs), name)]
        return " ".join(words)

    def _add_field(self, group: Any, one: dataclasses.Field, hint: Any) -> None:
        settings = {
            name: one.metadata[name]
            for name in ("choices", "metavar", "nargs", "action", "type")
            if name in one.metadata
        }
        help_text = one.metadata["help"]
        if one.metadata.get("rare") and not self.all_options:
            help_text = argparse.SUPPRESS
        default = one.default
        if one.default_factory is not dataclasses.MISSING:
            default = one.default_factory()
        required = default is dataclasses.MISSING
        kind = _simple_type(hint)
        if one.metadata.get("positional"):
            if not required:
                settings.setdefault("nargs", "?")
                settings["default"] = default
            group.add_argument(one.name, help=help_text, **{"type": kind} | settings)
            return
        settings.setdefault("type", _truth if kind is bool else kind)
        if typing.get_origin(hint) is tuple and "nargs" not in settings:
            settings["action"] = _Join
        settings.setdefault("default", None if required else default)
        group.add_argument(f"--{one.name}", help=help_text, required=required, **settings)

    def option_names(self) -> list[str]:
        """Return the names of all options, without dashes."""
        return [
            name.lstrip("-")
            for action in self._actions
            for name in action.option_strings
            if name.startswith("--")
        ]

    def parse_options(self, arguments: Sequence[str] | None = None, rest: bool = False) -> tuple:
        """Read a command line.

        Args:
            arguments: of the command line; None: of the running program.
            rest: whether words that belong to no option here are handed on.

        Returns:
            An instance of each of the dataclasses, checked; with `rest`, then the list of the
            other words.

        Raises:
            WrongUseError: if an option is unknown or has a wrong value.
            SystemExit: after --help.
        """
        known, unknown = self.parse_known_args(arguments)
        if unknown and not rest:
            raise WrongUseError(self.unknown_option(unknown[0]))
        values = vars(known)
        options = tuple(
            kind(**{one.name: values[one.name] for one in dataclasses.fields(kind) if one.init})
            for kind in self.dataclasses
        )
        for one in options:
            if hasattr(one, "check"):
                one.check()
        return (*options, unknown) if rest else options

    def parse_known_args(self, args=None, namespace=None):
        """As argparse; remembers the options, so that messages can name them."""
        _command.options = [*_command.options, *self.option_names()]
        words = list(sys.argv[1:] if args is None else args)
        flags = {
            one
            for action in self._actions
            if action.type is _truth
            for one in action.option_strings
        }
        for place in reversed([place for place, word in enumerate(words) if word in flags]):
            # The word behind a flag may be its value, or an input.
            value = [word for word in words[place + 1 : place + 2] if word.lower() in TRUTH]
            words[place : place + 1 + len(value)] = [f"{words[place]}={[*value, 'true'][0]}"]
        return super().parse_known_args(words, namespace)

    def unknown_option(self, word: str, names: Sequence[str] | None = None) -> str:
        """Say of a word that it is unknown, and what may have been meant.

        Args:
            word: of the command line.
            names: of all options; None: those of this parser.

        Returns:
            The message.
        """
        if not word.startswith("-"):
            return f"{word!r} is not expected here; see {self.prog} --help"
        name = word.lstrip("-").partition("=")[0].replace("-", "_")
        near = difflib.get_close_matches(name, names or self.option_names(), n=2)
        meant = " or ".join(f"--{one}" for one in near)
        advice = f"did you mean {meant}?" if meant else f"see {self.prog} --help"
        return f"unknown option {word.partition('=')[0]}; {advice}"

    def error(self, message: str) -> typing.NoReturn:
        """Raise argparse's message as a WrongUseError."""
        raise WrongUseError(f"{message}; see {self.prog} --help")


class _Join(argparse.Action):
    """Lists with commas: those of an option that is given several times become one."""

    def __call__(self, parser, namespace, values, option_string=None):
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if before is self.default else (*before, *values))


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows the default behind each help sentence, unless the sentence says it or it is trivial."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return "" if action.type is _truth else super()._format_args(action, default_metavar)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return super()._format_action_invocation(action).rstrip()

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        # 0 is shown, and equals False.
        trivial = any(action.default is one for one in (None, False, argparse.SUPPRESS))
        if (
            trivial
            or action.default in ([], (), "")
            or "default" in text
            or not action.option_strings
        ):
            return text
        default = action.default
        shown = ",".join(default) if isinstance(default, tuple) else "%(default)s"
        return f"{text} (default {shown})"


@dataclasses.dataclass
class _Command:
    """The running command: its words and options, how to resume it, whether Ctrl-C was heard."""

    words: str = "dusha"
    options: Sequence[str] = ()
    resume: str | Callable[[], str] = ""
    interrupted: bool = False


_command = _Command()


def _truth(text: str) -> bool:
    if text.lower() not in TRUTH:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return TRUTH[text.lower()]


def _simple_type(hint: Any) -> Callable:
    """The type of one value: of `float | None` float, of `tuple[str, ...]` str."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next(one for one in typing.get_args(hint) if one is not type(None))
    if typing.get_origin(hint) in (list, tuple):
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is typing.Literal:
        hint = type(typing.get_args(hint)[0])
    return hint


def with_dashes(message: str) -> str:
    """Write the parameters that a message of the library names as options of the command line.

    Args:
        message: with parameters as `name`, `name=value` or `name=True`.

    Returns:
        The message; what is not an option of the running command stays.

    Examples:
        >>> _command.options = ["overwrite", "threshold"]
        >>> with_dashes("`threshold` is 90; `overwrite=True` replaces `clips`")
        '--threshold is 90; --overwrite replaces `clips`'
    """

    def option(found: re.Match) -> str:
        name, value = found.groups()
        if name not in _command.options:
            return found[0]
        return f"--{name}" if value in (None, "True") else f"--{name} {value}"

    return PARAMETER.sub(option, message)


def run_program(main: Callable[[], int | None]) -> typing.NoReturn:
    """Run a program's main function and leave the interpreter with the status that it earned.

    Args:
        main: the program; its return value is the exit status, None counts as 0.

    Raises:
        SystemExit: always: 0 done, 1 the work failed, 2 used wrongly, 130 interrupted. A defect
            of this software itself keeps its traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        status = main() or DONE
        sys.stdout.flush()
    except BaseException as error:
        status = _status_after(error)
    sys.exit(status)


def _interrupt(number: int, frame: object) -> typing.NoReturn:
    _command.interrupted = True
    raise KeyboardInterrupt


def _status_after(error: BaseException) -> int:
    """Say in one line how a program ended; what is a defect of its own is raised again."""
    # While libraries are imported, they may make another error of an interruption.
    if isinstance(error, KeyboardInterrupt) or _command.interrupted:
        _command.interrupted = False
        advice = _command.resume if isinstance(_command.resume, str) else _command.resume()
        return complain("; ".join(filter(None, ("interrupted", advice))), INTERRUPTED)
    if isinstance(error, WrongUseError):
        return complain(error, WRONG_USE)
    if isinstance(error, BrokenPipeError):
        # The reader of our output (head, less) has left; that is no fault of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WORK_FAILED
    is_from_system = isinstance(error, OSError) and (error.filename, error.errno) != (None, None)
    if isinstance(error, WorkFailedError) or is_from_system:
        return complain(error, WORK_FAILED)
    raise error


def name_command(words: str) -> None:
    """Begin a command: messages begin with its words, such as "dusha train"."""
    _command.words, _command.options, _command.resume = words, (), ""


def on_interrupt(advice: str | Callable[[], str]) -> None:
    """Let an interruption from here on say how to resume.

    Args:
        advice: such as "the same command resumes", or what returns it when it is asked for; empty:
            nothing was begun.
    """
    _command.resume = advice


def complain(message: object, status: int) -> int:
    """Write one line to standard error.

    Args:
        message: what came, what is allowed and what to do; its line ends become spaces.
        status: the exit status to hand on.

    Returns:
        status, unchanged.
    """
    text = with_dashes(" ".join(str(message).split()))
    print(f"{_command.words}: {text}", file=sys.stderr)
    return status


def hide_bars(quiet: bool) -> None:
    """Keep bars of the libraries off what is not a terminal; tqdm's own hide with disable=None.

    Call it before the libraries are imported: importing them takes seconds.

    Args:
        quiet: whether the user wants no bars on a terminal either.
    """
    if not quiet and sys.stderr.isatty():
        return
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = (
        "1"
    )
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    if "datasets" in sys.modules:
        sys.modules["datasets"].disable_progress_bars()


def tell(quiet: bool, text: str) -> None:
    """Print one line, unless the user wants quiet."""
    if not quiet:
        print(text, flush=True)
