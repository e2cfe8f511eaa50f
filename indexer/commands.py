"""``current indexer``: mirror the chain, compare the mirror with it, look at its endpoints."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from serving.process.command_line import Failed, group, stop_on_signals
from serving.process.exit_codes import ExitCode

if TYPE_CHECKING:
    from indexer.verify import Compared, Difference

SETTINGS: Final = ("INDEXER_RPC_URL", "INDEXER_LEDGER_URL", "INDEXER_DEPLOYMENT_FILE")


@group("indexer", invoke_without_command=True, settings=SETTINGS, is_service=True)
def indexer() -> None:
    """Mirror the chain into the ledger until stopped.

    More indexers on one ledger stand by: one of them leads.
    """
    from indexer.main import run
    from indexer.settings import IndexerSettings
    from serving.process.logs import configure_logs

    settings = IndexerSettings.from_environment()
    configure_logs(level=settings.log_level)
    run(settings, stop_on_signals())


@indexer.command("rebuild", settings=SETTINGS)
def rebuild() -> None:
    """Drop what is mirrored; the next run mirrors again from the deployment block.

    Refused, with nothing dropped, where the node does not show the oldest mirrored events any more.
    """
    from indexer.main import rebuild as forget_mirror
    from indexer.settings import IndexerSettings

    forget_mirror(IndexerSettings.from_environment())
    click.echo("the mirror is empty; the next `current indexer` mirrors the chain again")


@indexer.command("verify", settings=SETTINGS, is_check=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines: differences, then sums.")
def verify(as_json: bool) -> ExitCode:
    """Compare every mirrored value of every position with the contracts' own views.

    Both are taken at the mirrored block. Amounts are in 1e-6 USDC, times in Unix seconds.
    """
    from indexer.main import verify as compare
    from indexer.settings import IndexerSettings

    def tell(difference: "Difference") -> None:
        fields = {"event": "differs", **asdict(difference)}
        click.echo(json.dumps(fields) if as_json else str(difference))

    sums = compare(IndexerSettings.from_environment(), tell)
    if sums.block is None:
        raise Failed("nothing is mirrored yet: start `current indexer`", ExitCode.UNUSABLE)
    click.echo(_build_line(sums) if as_json else _describe(sums))
    return ExitCode.FAILED if sums.differences else ExitCode.DONE


@indexer.command("endpoints", settings=SETTINGS, is_check=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, one for each endpoint.")
def endpoints(as_json: bool) -> ExitCode:
    """Ask every endpoint of the chain now: its block, how far behind, how fast, what is wrong.

    Where INDEXER_METRICS_PORT names a running indexer: which endpoint serves it, and what each
    did wrong since it began. Fails where an endpoint is of no use.
    """
    from contracts.deployment import load_deployment
    from indexer.endpoint_health import describe, examine, load_seen
    from indexer.main import name_endpoints
    from indexer.settings import IndexerSettings

    settings = IndexerSettings.from_environment()
    seen = load_seen(host=settings.metrics_host, port=settings.metrics_port)
    found = examine(
        name_endpoints(settings.rpc_urls()),
        chain_id=load_deployment(settings.deployment_file).chain_id,
        seen=seen,
    )
    for one in found:
        click.echo(json.dumps(asdict(one)) if as_json else describe(one))
    if not seen and not as_json:
        click.echo("no running indexer was asked: see INDEXER_METRICS_PORT in docs/settings.md")
    return ExitCode.FAILED if any(one.problem for one in found) else ExitCode.DONE


def _describe(sums: "Compared") -> str:
    assert sums.block is not None
    compared = (
        f"compared {sums.positions:,} positions ({sums.values:,} values) with the contracts"
        f" at block {sums.block.block_number} of chain {sums.block.chain_id}"
    )
    if not sums.differences:
        return f"{compared}: all agree"
    return (
        f"{compared}: {sums.differences:,} differ; a running indexer repairs them by itself, and"
        " `current indexer rebuild` mirrors everything again"
    )


def _build_line(sums: "Compared") -> str:
    assert sums.block is not None
    return json.dumps(
        {
            "event": "compared",
            "chain_id": sums.block.chain_id,
            "block_number": sums.block.block_number,
            "block_hash": sums.block.block_hash,
            "positions": sums.positions,
            "values": sums.values,
            "differences": sums.differences,
        }
    )
