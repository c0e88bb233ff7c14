"""What all subcommands share: parsers made of dataclasses, exit statuses, one-line errors."""

import argparse
import dataclasses
import difflib
import inspect
import os
import re
import signal
import sys
import typing
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dusha_ser.errors import WorkFailedError, WrongUseError

DONE = 0
WORK_FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# A parameter in a message of the library: `name`, or `name=value`.
PARAMETER = re.compile(r"`([a-z]\w*)(?:=([^`]+))?`")


class Parser(argparse.ArgumentParser):
    """An argument parser that is made of dataclasses, and whose errors are one line.

    Each field of a dataclass is an option, as `dusha_ser.options.option` makes it. Its metadata
    hold `help` and, where needed, `choices`, `metavar`, `nargs`, `action` or `type` as argparse
    takes them, `positional`, `group` (its title in --help; a dataclass may have an `option_group`
    for all of its fields), and `rare`, which only --help_all shows. A method `check` raises a
    WrongUseError where values do not fit. A truth value is --name, --name true or --name false.

    Args:
        command: the words in front of the options, such as "dusha train".
        description: what the command does.
        example: commands, shown below the options.
        options: the dataclasses.

    Examples:
        >>> from dusha_ser.options import option
        >>> @dataclasses.dataclass
        ... class Options:
        ...     folder: str = option("folder", positional=True)
        ...     window: float = option("seconds", 5.0)
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
        self.fields = {
            kind: [one for one in dataclasses.fields(kind) if one.init] for kind in options
        }
        if any("rare" in one.metadata for fields in self.fields.values() for one in fields):
            self.add_argument(
                "--help_all", action="help", help="show all options, also those of the Trainer"
            )
        groups: dict[str, Any] = {"": self}
        for kind, fields in self.fields.items():
            hints = typing.get_type_hints(kind)
            for one in fields:
                title = str(one.metadata.get("group") or getattr(kind, "option_group", ""))
                if title not in groups:
                    groups[title] = self.add_argument_group(title)
                _add_field(groups[title], one, hints[one.name])
        # What must be given; the list of options is below it, not in it.
        needed = [one for one in self._actions if one.required or not one.option_strings]
        shown = argparse.HelpFormatter(self.prog, width=sys.maxsize)
        shown.add_usage(None, needed, [], prefix="")
        words = " ".join(shown.format_help().split())
        self.usage = f"{self.prog} [options]{words.removeprefix(self.prog)}"

    def option_names(self) -> list[str]:
        """Return the names of all options, without dashes."""
        names = (name for action in self._actions for name in action.option_strings)
        return [name.removeprefix("--") for name in names if name.startswith("--")]

    def parse_options(self, arguments: Sequence[str] | None = None, rest: bool = False) -> tuple:
        """Read a command line (None: the running program's) into the dataclasses, checked.

        With `rest`, words that belong to no option are no error but come last, as a list.

        Raises:
            WrongUseError: if an option is unknown or has a wrong value.
        """
        known, unknown = self.parse_known_args(arguments)
        if unknown and not rest:
            raise WrongUseError(self.unknown_option(unknown[0]))
        values = vars(known)
        options = tuple(
            kind(**{one.name: values[one.name] for one in fields})
            for kind, fields in self.fields.items()
        )
        for one in options:
            if hasattr(one, "check"):
                one.check()
        return (*options, unknown) if rest else options

    def parse_known_args(self, args=None, namespace=None):
        """As argparse; remembers the options, so that messages can name them."""
        _command.options = [*_command.options, *self.option_names()]
        words = list(sys.argv[1:] if args is None else args)
        flags = {f"--{one.dest}" for one in self._actions if one.type is _truth}
        for place in reversed([place for place, word in enumerate(words) if word in flags]):
            # The word behind a flag may be its value, or an input.
            value = [word for word in words[place + 1 : place + 2] if word.lower() in TRUTH]
            words[place : place + 1 + len(value)] = [f"{words[place]}={[*value, 'true'][0]}"]
        return super().parse_known_args(words, namespace)

    def unknown_option(self, word: str) -> str:
        """Say of a word of the command line that it is unknown, and what may have been meant."""
        if not word.startswith("-"):
            return f"{word!r} is not expected here; see {self.prog} --help"
        given = word.partition("=")[0]
        name = given.lstrip("-").replace("-", "_")
        near = difflib.get_close_matches(name, self.option_names(), n=2)
        meant = " or ".join(f"--{one}" for one in near)
        advice = f"did you mean {meant}?" if meant else f"see {self.prog} --help"
        return f"unknown option {given}; {advice}"

    def error(self, message: str) -> typing.NoReturn:
        """Raise argparse's message as a WrongUseError."""
        raise WrongUseError(f"{message}; see {self.prog} --help")


def _add_field(group: Any, one: dataclasses.Field, hint: Any) -> None:
    """Add a field of a dataclass to a parser or group as an option."""
    names = ("choices", "metavar", "nargs", "action", "type")
    settings = {name: one.metadata[name] for name in names if name in one.metadata}
    settings["help"] = one.metadata["help"]
    several = typing.get_origin(hint) in (tuple, list) and not isinstance(
        settings.get("nargs"), int
    )
    if several:
        form = "as words" if "nargs" in settings else "with commas"
        again = "" if one.metadata.get("positional") else ", or by the option again"
        settings["help"] = f"{settings['help'].rstrip('.')}; several {form}{again}"
    if one.metadata.get("rare") and "--help_all" not in sys.argv:
        settings["help"] = argparse.SUPPRESS
    default = one.default
    if one.default_factory is not dataclasses.MISSING:
        default = one.default_factory()
    required = default is dataclasses.MISSING
    if not required:
        settings["default"] = default
    kind = _simple_type(hint)
    settings.setdefault("type", _truth if kind is bool else kind)
    if one.metadata.get("positional"):
        group.add_argument(one.name, **({} if required else {"nargs": "?"}) | settings)
        return
    if several:
        settings["action"] = _Join
    group.add_argument(f"--{one.name}", required=required, **settings)


class _Join(argparse.Action):
    """Lists: those of an option that is given several times become one."""

    def __call__(self, parser, namespace, values, option_string=None):
        before = getattr(namespace, self.dest)
        joined = values if before is self.default else type(values)([*before, *values])
        setattr(namespace, self.dest, joined)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows the default behind each help sentence, unless the sentence says it or it is trivial."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return "" if action.type is _truth else super()._format_args(action, default_metavar)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return super()._format_action_invocation(action).rstrip()

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        # 0 is shown, and equals False.
        trivial = any(default is one for one in (None, False, argparse.SUPPRESS))
        if trivial or default in ([], (), "") or "default" in text or not action.option_strings:
            return text
        shown = ",".join(default) if isinstance(default, tuple) else "%(default)s"
        return f"{text} (default {shown})"


@dataclasses.dataclass
class _Running:
    """The running command: its words and options, how to resume it, whether Ctrl-C was heard."""

    words: str = "dusha"
    options: Sequence[str] = ()
    resume: str | Callable[[], str] = ""
    interrupted: bool = False


_command = _Running()


@dataclasses.dataclass
class Command:
    """A subcommand, which is called with the arguments of its command line; see `command`."""

    work: Callable[..., None]
    make_parser: Callable[[], Parser]
    resumes: bool
    rest: bool

    def __call__(self, arguments: Sequence[str] | None = None) -> None:
        """Read the options, hide bars where they do not belong, and do the work."""
        options = self.make_parser().parse_options(arguments, self.rest)
        hide_bars(options[0].quiet)
        resumes = self.resumes and not getattr(options[0], "overwrite", False)
        on_interrupt("the same command resumes" if resumes else "")
        self.work(*options)


def command(
    words: str, example: str, *options: type, resumes: bool = False, rest: bool = False
) -> Callable[[Callable[..., None]], Command]:
    """Make a subcommand of a function that takes its options and whose docstring describes it.

    Args:
        words: the words in front of the options, such as "dusha collect slice".
        example: commands, shown below the options.
        options: the dataclasses of the function's arguments; the first one has `quiet`.
        resumes: whether the same command resumes what was interrupted.
        rest: whether words that belong to no option are the function's last argument.
    """

    def decorate(work: Callable[..., None]) -> Command:
        description = inspect.cleandoc(str(work.__doc__))
        make_parser = partial(Parser, words, description, example, *options)
        return Command(work, make_parser, resumes, rest)

    return decorate


def _truth(text: str) -> bool:
    if text.lower() not in TRUTH:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return TRUTH[text.lower()]


def _simple_type(hint: Any) -> Callable:
    """The type of one value: of `float | None` float, of `tuple[str, ...]` str."""
    inner = [one for one in typing.get_args(hint) if one is not type(None)]
    if typing.get_origin(hint) is typing.Literal:
        return type(inner[0])
    return _simple_type(inner[0]) if inner else hint


def with_dashes(message: str) -> str:
    """Write `name`, `name=value` and `name=True` in a message as options of the command line.

    What is not an option of the running command stays as it is.

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
    """Run a program, which returns its status, and leave the interpreter with it.

    Done is 0 or None; 1 the work failed, 2 used wrongly, 130 interrupted. A defect of this software
    itself keeps its traceback.
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
        return _complain("; ".join(filter(None, ("interrupted", advice))), INTERRUPTED)
    if isinstance(error, WrongUseError):
        return _complain(error, WRONG_USE)
    if isinstance(error, BrokenPipeError):
        # The reader of our output (head, less) has left; that is no fault of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WORK_FAILED
    is_from_system = isinstance(error, OSError) and (error.filename, error.errno) != (None, None)
    if isinstance(error, WorkFailedError) or is_from_system:
        return _complain(error, WORK_FAILED)
    raise error


def _complain(message: object, status: int) -> int:
    """Write a message as one line to standard error; returns the status."""
    print(f"{_command.words}: {with_dashes(' '.join(str(message).split()))}", file=sys.stderr)
    return status


def name_command(words: str) -> None:
    """Begin a command: messages begin with its words, such as "dusha train"."""
    _command.words, _command.options, _command.resume = words, (), ""


def on_interrupt(advice: str | Callable[[], str]) -> None:
    """Let an interruption from here on say how to resume; empty: nothing was begun."""
    _command.resume = advice


def hide_bars(quiet: bool) -> None:
    """Keep the libraries' bars off what is not a terminal, and with `quiet` off terminals, too.

    It takes effect before the libraries are imported, which takes seconds. Our own bars hide with
    tqdm's disable=None.
    """
    if not quiet and sys.stderr.isatty():
        return
    for library in ("HUB", "DATASETS"):
        os.environ[f"HF_{library}_DISABLE_PROGRESS_BARS"] = "1"
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    if "datasets" in sys.modules:
        sys.modules["datasets"].disable_progress_bars()


def tell(quiet: bool, text: str) -> None:
    """Print one line, unless the user wants quiet."""
    if not quiet:
        print(text, flush=True)


def tell_of_shards(quiet: bool, job: Any, outcome: Any) -> None:
    """Say what a program did of a `shards.jobs.Job`.

    Raises:
        WorkFailedError: if recordings failed.
    """
    tell(quiet, f"wrote {len(outcome.parts)} of {len(job.shards)} shards to {job.store}")
    if outcome.failed:
        from dusha_ser.audio.problems import count_reasons

        raise WorkFailedError(
            f"{outcome.failed} of {outcome.rows} rows hold errors: "
            f"{count_reasons(outcome.errors)}; see the error column of the parts in {job.store}"
        )
