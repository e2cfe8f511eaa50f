"""With which code a command ends, the same for every command of the project.

Systemd, cron and scripts decide by these numbers; ``docs/operations.md`` has them as a table, and a
test compares the two.
"""

from enum import IntEnum

from contracts.errors import CurrentError, Fatal


class ExitCode(IntEnum):
    """The code that a process returns to its parent."""

    DONE = 0
    """The command did what was asked, or found nothing to do."""
    FAILED = 1
    """The command failed, and may succeed later unchanged; or a check found something wrong."""
    UNUSABLE = 2
    """Arguments, settings, key, deployment or chain are wrong: a person must act first."""
    LOCKED = 3
    """Another keeper works on this ledger."""
    INTERRUPTED = 130
    """Ctrl-C ended a command that was not done."""


def exit_code_of(error: CurrentError) -> ExitCode:
    """Return the code for a failure: only what is fatal needs a person."""
    return ExitCode.UNUSABLE if isinstance(error, Fatal) else ExitCode.FAILED
