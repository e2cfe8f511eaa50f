"""One style for every command: what its help shows, how it refuses, how it fails.

::

    --help          usage, arguments, options, every command below, settings, exit codes
    wrong words     a sentence, the usage, a suggestion; exit 2, before any setting is read
    a failure       one sentence on stderr and an exit code; a traceback means a bug of ours

A room's ``commands`` module imports what its commands run inside their bodies, so that help, a
refusal and completion cost no import of the room.
"""

import difflib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from contracts.errors import CurrentError
from serving.process.exit_codes import ExitCode, exit_code_of

CONTEXT: Final[Mapping[str, Any]] = {
    "help_option_names": ["--help", "-h"],
    "show_default": True,
    "max_content_width": 100,
}
USUAL_CODES: Final[Mapping[ExitCode, str]] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed; may succeed later unchanged",
    ExitCode.UNUSABLE: "wrong arguments or settings: a person must act",
}
SERVICE_CODES: Final[Mapping[ExitCode, str]] = {
    ExitCode.DONE: "stopped by SIGTERM or Ctrl-C, its work finished",
    ExitCode.FAILED: "failed; may succeed later unchanged",
    ExitCode.UNUSABLE: "wrong arguments, settings, deployment or chain: a person must act",
}
ALL_CODES: Final[Mapping[ExitCode, str]] = {
    **USUAL_CODES,
    ExitCode.FAILED: "failed, may succeed later unchanged; or a check found something wrong",
    ExitCode.LOCKED: "another keeper works on this ledger",
    ExitCode.INTERRUPTED: "ended by Ctrl-C before it was done",
}
CHECK_CODES: Final[Mapping[ExitCode, str]] = {
    ExitCode.DONE: "everything that was compared agrees",
    ExitCode.FAILED: "something is not as it should be",
    ExitCode.UNUSABLE: "nothing was compared: wrong arguments or settings, node or ledger away",
}


class Failed(click.ClickException):
    """A command failed: the sentence to print, and the code to end with."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = code


class Argument(click.Argument):
    """A positional argument that says what it means, with its unit."""

    def __init__(self, *args: Any, help: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.help = help


class Command(click.Command):
    """A command in the project's style.

    ``exit_codes`` are the codes that its help lists. ``settings`` names the environment's variables
    that it cannot do without. ``is_service``: it logs from the level "info" on, and its failure is
    also a log line, ``stopped``. ``is_check``: it ends with 1 only where it compared and found
    something, so all that keeps it from comparing ends with 2.
    """

    def __init__(
        self,
        *args: Any,
        exit_codes: Mapping[ExitCode, str] | None = None,
        settings: Sequence[str] = (),
        is_service: bool = False,
        is_check: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs["context_settings"] = {**CONTEXT, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        usual = SERVICE_CODES if is_service else CHECK_CODES if is_check else USUAL_CODES
        self.exit_codes = usual if exit_codes is None else exit_codes
        self.settings = tuple(settings)
        self.is_service = is_service
        self.is_check = is_check
        if self.callback is not None:
            self.callback = self._in_style(self.callback)

    def _in_style(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap what a command does: its failures become sentences and exit codes."""

        @wraps(act)
        def call(*args: Any, **kwargs: Any) -> None:
            context = click.get_current_context()
            if context.invoked_subcommand is not None:
                return
            # Imported here: help and refusals do not need these modules.
            import structlog

            from serving.process.logs import configure_logs

            configure_logs(level="info" if self.is_service else "warning")
            # Ledgers, logs and keys that are made from here on are nobody else's to read.
            os.umask(0o077)
            try:
                code = act(*args, **kwargs)
            except CurrentError as error:
                if self.is_service and not sys.stderr.isatty():
                    # For log collectors; a person reads the sentence.
                    log = structlog.get_logger("process")
                    log.error("stopped", error=str(error), kind=type(error).__name__)
                found = ExitCode.UNUSABLE if self.is_check else exit_code_of(error)
                raise Failed(str(error), found) from error
            except OSError as error:
                found = ExitCode.UNUSABLE if self.is_check else ExitCode.FAILED
                raise Failed(_describe(error), found) from error
            except KeyboardInterrupt:
                raise Failed("stopped", ExitCode.INTERRUPTED) from None
            if code:
                context.exit(code)

        return call

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments before the options."""
        rows = [
            (param.make_metavar(), param.help)
            for param in self.params
            if isinstance(param, Argument)
        ]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        super().format_options(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the settings and the exit codes after everything else."""
        super().format_epilog(ctx, formatter)
        if self.settings:
            prefix = self.settings[0].partition("_")[0]
            with formatter.section("Settings"):
                formatter.write_text(
                    f"From the environment, {prefix}_…; required: {', '.join(self.settings)}."
                    " docs/settings.md lists all with their units and defaults."
                )
        if self.exit_codes:
            with formatter.section("Exit codes"):
                formatter.write_dl(
                    [(str(int(code)), text) for code, text in self.exit_codes.items()]
                )


class Group(Command, click.Group):
    """A command with commands below it; alone it shows its help, unless it runs something."""

    command_class = Command
    group_class = type  # a group below is one of these, too

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click hands it over
        formatter: click.HelpFormatter,
    ) -> None:
        """Write every command below this one, at any depth."""
        rows = [
            (" ".join(path), command.get_short_help_str(limit=1_000))
            for path, command in walk(self)
            if not isinstance(command, click.Group) or command.invoke_without_command
        ]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names; suggest others for an unknown word."""
        if self.get_command(ctx, args[0]) is not None or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        near = suggest(args[0], self)
        advice = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        ctx.fail(f"no command {args[0]!r}{advice}")


def command(name: str, **attrs: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a ``Command`` of a function."""
    return click.command(name, cls=Command, **attrs)


def group(name: str, **attrs: Any) -> Callable[[Callable[..., Any]], Group]:
    """Make a ``Group`` of a function."""
    return click.group(name, cls=Group, **attrs)


def argument(name: str, *, help: str, **attrs: Any) -> Callable[[Any], Any]:
    """Add a positional argument with its meaning to a command."""
    return click.argument(name, cls=Argument, help=help, **attrs)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and Ctrl-C set from now on, for work that ends in order."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def walk(root: click.Group) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every visible command below ``root`` with the words that lead to it."""
    for name, found in sorted(root.commands.items()):
        if found.hidden:
            continue
        yield (name,), found
        if isinstance(found, click.Group):
            yield from (((name, *path), below) for path, below in walk(found))


def suggest(word: str, root: click.Group) -> list[str]:
    """Return the commands below ``root`` that ``word`` may mean, best first.

    A word that is a command further down is found there: ``report`` is ``keeper report``.
    """
    by_word: dict[str, list[str]] = {}
    for path, _ in walk(root):
        by_word.setdefault(path[-1], []).append(" ".join(path))
    plain = word.lower()
    near = [plain] if plain in by_word else difflib.get_close_matches(plain, by_word, n=2)
    if near and near[0].replace("-", "") == plain:
        near = near[:1]  # but for a dash, it is this one
    return [path for found in near for path in by_word[found]]


class LazyChoice(click.ParamType):
    """One of several words, which are loaded when they are first needed."""

    name = "choice"

    def __init__(self, load: Callable[[], Sequence[str]]) -> None:
        self._load = load

    def _choice(self) -> click.Choice:
        return click.Choice(self._load())

    def get_metavar(self, param: click.Parameter) -> str | None:
        """Show the words in the help."""
        return self._choice().get_metavar(param)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the word, or refuse it and list the valid words."""
        return self._choice().convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete a word."""
        return self._choice().shell_complete(ctx, param, incomplete)


class Parsed(click.ParamType):
    """A value read by a function that raises ``ValueError`` with a sentence."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what the function reads, or refuse the value with its sentence."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_http_url(text: str) -> str:
    """Return an http or https URL. Raises ``ValueError``, which shows nothing of it."""
    from serving.process.settings import is_url

    if not is_url(text):
        raise ValueError("not an http or https URL with a host, such as http://127.0.0.1:8545")
    return text


HTTP_URL: Final = Parsed("url", parse_http_url)
"""The type of an option that takes the URL of a node or a server."""


def _describe(error: OSError) -> str:
    if error.filename is None:
        return str(error) or type(error).__name__
    return f"{error.filename}: {error.strerror or type(error).__name__}"
