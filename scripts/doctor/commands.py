"""``current doctor``, with its arguments."""

import json
from pathlib import Path

import click

from serving.process.command_line import HTTP_URL, command
from serving.process.exit_codes import ExitCode

CODES = {
    ExitCode.DONE: "nothing is wrong; there may be advice",
    ExitCode.FAILED: "something is wrong, or with --strict: could be better or was not seen",
    ExitCode.UNUSABLE: "nothing was examined: wrong arguments, or no settings were found",
}
MARKS = {
    "good": ("ok", "green"),
    "advice": ("advice", "yellow"),
    "bad": ("WRONG", "red"),
    "unknown": ("unseen", "cyan"),
}


@command("doctor", is_check=True, exit_codes=CODES)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The deployment folder, instead of the environment's settings.",
)
@click.option(
    "--backups",
    envvar="CURRENT_BACKUPS",
    show_envvar=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where `current backup` writes to.  [default: FOLDER/backups, if it is there]",
)
@click.option(
    "--prometheus-url",
    envvar="CURRENT_PROMETHEUS_URL",
    show_envvar=True,
    type=HTTP_URL,
    help="Where Prometheus answers, to see who hears alarms.",
)
@click.option("--part", "parts", multiple=True, help="Only checks of this part, e.g. rpc.")
@click.option("--all", "shows_all", is_flag=True, help="Show what is as it should be, too.")
@click.option("--strict", is_flag=True, help="Exit 1 for advice, and for what was not seen, too.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each finding.")
def doctor(
    folder: Path | None,
    backups: Path | None,
    prometheus_url: str | None,
    parts: tuple[str, ...],
    shows_all: bool,
    strict: bool,
    as_json: bool,
) -> ExitCode:
    """Look at everything that can be wrong, and say for each the line that mends it.

    Reads the settings of all processes from the environment, or from a deployment folder. Changes
    nothing and sends nothing. For cron: the exit code says whether something is wrong.
    """
    from scripts.doctor.all_checks import ALL_CHECKS
    from scripts.doctor.examination import Level, examine
    from scripts.doctor.patient import Patient
    from scripts.folder.environment import load_environment
    from serving.process.command_line import Failed

    known = sorted({check.part for check in ALL_CHECKS})
    for part in parts:
        if part not in known:
            raise click.UsageError(f"no part {part!r}; there are {', '.join(known)}")
    if backups is None and folder is not None and (folder / "backups").is_dir():
        backups = folder / "backups"
    environment = load_environment(folder)
    checks = [check for check in ALL_CHECKS if not parts or check.part in parts]
    counts = dict.fromkeys(Level, 0)
    with Patient(
        environment, folder=folder, backups=backups, prometheus_url=prometheus_url
    ) as patient:
        if not patient.settings and not patient.refusals:
            reason = "no setting of any process is in the environment: give them, or --folder"
            raise Failed(reason, ExitCode.UNUSABLE)
        for found in examine(patient, checks):
            finding = found.finding
            counts[finding.level] += 1
            if as_json:
                fields = {"check": found.check, "level": str(finding.level)}
                fields |= {"subject": finding.subject, "says": finding.says, "mend": finding.mend}
                click.echo(json.dumps(fields))
            elif shows_all or finding.level is not Level.GOOD:
                _say(found.check, str(finding.level), finding.subject, finding.says, finding.mend)
    if not as_json:
        told = (f"{counts[level]} {MARKS[str(level)][0]}" for level in Level)
        click.echo(", ".join(told))
    is_wrong = counts[Level.BAD] or (strict and (counts[Level.ADVICE] or counts[Level.UNKNOWN]))
    return ExitCode.FAILED if is_wrong else ExitCode.DONE


def _say(check: str, level: str, subject: str, says: str, mend: str) -> None:
    mark, color = MARKS[level]
    click.echo(f"{click.style(f'{mark:<7}', fg=color)} {check:<18} {subject}: {says}")
    if mend:
        click.echo(f"{'':<7} {'':<18} → {mend}")
