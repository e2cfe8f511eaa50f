"""``current status``, with its arguments."""

import json
from pathlib import Path

import click

from serving.process.command_line import Failed, command
from serving.process.exit_codes import ExitCode


@command("status")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The deployment folder, instead of the environment's settings.",
)
@click.option("--name", default=None, help="A stack started by `current up`, instead of both.")
@click.option("--every", "every_s", type=click.IntRange(1, 3_600), help="Again every so many s.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line each time.")
def status(folder: Path | None, name: str | None, every_s: int | None, as_json: bool) -> ExitCode:
    """Show where everything is: chain, positions, requests, keeper, market, payouts, alarms.

    Reads the ledger and asks a node for its head. Amounts in --json are 1e-6 USDC and wei.
    """
    import time

    from rich.console import Console
    from rich.live import Live

    from scripts.doctor.patient import Absent, Patient
    from scripts.folder.environment import load_environment
    from scripts.overview.gathering import gather
    from scripts.overview.screen import build_screen

    environment = load_environment(folder) if name is None else _stack_environment(name)
    with Patient(environment, folder=folder) as patient:
        for process, reason in patient.refusals.items():
            raise Failed(f"{process}: {reason}", ExitCode.UNUSABLE)
        try:
            if as_json:
                click.echo(json.dumps(gather(patient)))
                while every_s is not None:
                    time.sleep(every_s)
                    click.echo(json.dumps(gather(patient)))
                return ExitCode.DONE
            console = Console(highlight=False, markup=False)
            if every_s is None:
                console.print(build_screen(gather(patient)))
                return ExitCode.DONE
            with Live(build_screen(gather(patient)), console=console, screen=True) as live:
                while True:
                    time.sleep(every_s)
                    live.update(build_screen(gather(patient)))
        except Absent as error:
            raise Failed(
                f"the {error} is not there: give the processes' settings, --folder or --name",
                ExitCode.UNUSABLE,
            ) from None


def _stack_environment(name: str) -> dict[str, str]:
    from scripts.stack.up import load_stack_record

    record = load_stack_record(name)
    return {
        "INDEXER_RPC_URL": record.rpc_url,
        "INDEXER_LEDGER_URL": record.ledger_url,
        "INDEXER_DEPLOYMENT_FILE": record.deployment_file,
    }
