"""The ``current`` command: every process and every tool of the project."""

import json
import sys
from pathlib import Path
from typing import Any

import click
import httpx
from eth_account import Account
from rich.console import Console

from contracts.deployment import load_deployment
from contracts.errors import CurrentError


@click.group(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Collect the commands; each imports what it runs only when it runs."""


@commands.command()
def demo() -> None:
    """Walk the whole journey on a fresh local stack; exit 0 only if every step held."""
    from scripts.stack.demo import run_demo

    _run(lambda console: run_demo(console))


@commands.command()
@click.option("--fresh", is_flag=True, help="Forget the earlier chain and ledger of this name.")
@click.option("--name", default="devnet", show_default=True, help="The stack's folder in .current/")
def up(fresh: bool, name: str) -> None:
    """Start the local stack, or resume it, and leave it running."""
    from scripts.stack.up import run_up

    _run(lambda console: run_up(console, fresh=fresh, name=name))


def _run(action: Any) -> None:
    from scripts.stack.devnet import DevnetError
    from scripts.stack.ports import PortTaken
    from scripts.stack.processes import ProcessError

    console = Console(highlight=False)
    try:
        action(console)
    except KeyboardInterrupt:
        console.print("stopped")
        sys.exit(130)
    except (CurrentError, DevnetError, ProcessError, PortTaken, FileNotFoundError) as error:
        console.print(f"[red]failed:[/red] {error}", soft_wrap=True)
        sys.exit(1)


@commands.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def indexer(arguments: tuple[str, ...]) -> None:
    """Mirror the chain into the ledger; `rebuild` starts over, `verify` asks the contracts."""
    from indexer.main import main

    sys.exit(main(arguments))


@commands.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def keeper(arguments: tuple[str, ...]) -> None:
    """Harvest, hold, settle, sweep and pay; `once` for cron, `report`, `write-off`."""
    from keeper.main import main

    sys.exit(main(arguments))


@commands.command()
def proxy() -> None:
    """Serve buyers: keys, models, chat completions, positions, receipts."""
    from proxy.main import main

    sys.exit(main())


@commands.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def market(arguments: tuple[str, ...]) -> None:
    """Serve sellers and route to them; `operator-key`, `credit` for the operator's own use."""
    from market.main import main

    sys.exit(main(arguments))


@commands.group()
def key() -> None:
    """API keys."""


@key.command("issue")
@click.option("--token-id", type=click.IntRange(0), default=0, show_default=True)
@click.option("--private-key-file", type=click.Path(path_type=Path), required=True)
@click.option("--api-url", default="http://127.0.0.1:8402/api/current", show_default=True)
def issue(token_id: int, private_key_file: Path, api_url: str) -> None:
    """Sign with a wallet's key and print an API key for its position."""
    from scripts.stack.devnet import issue_key

    def action(_: Console) -> None:
        try:
            account = Account.from_key(private_key_file.read_text(encoding="ascii").strip())
        except (OSError, ValueError) as error:
            # Not the error's text: it may quote the key.
            reason = f"{private_key_file} holds no private key: {type(error).__name__}"
            raise click.ClickException(reason) from None
        print(issue_key(api_url, account, token_id))

    _run(action)


@commands.group()
def position() -> None:
    """Positions."""


@position.command("show")
@click.argument("token_id", type=click.IntRange(0))
@click.option("--api-url", default="http://127.0.0.1:8402/api/current", show_default=True)
def show(token_id: int, api_url: str) -> None:
    """Print a position as the proxy shows it, as JSON."""
    answer = _get(f"{api_url}/positions/{token_id}")
    print(json.dumps(answer, indent=2))


@commands.command()
@click.option("--name", default="devnet", show_default=True, help="A stack started by `up`.")
@click.option("--ledger-url", envvar="CURRENT_LEDGER_URL", help="Instead of --name.")
@click.option("--rpc-url", envvar="CURRENT_RPC_URL")
@click.option("--deployment-file", envvar="CURRENT_DEPLOYMENT_FILE")
def audit(
    name: str, ledger_url: str | None, rpc_url: str | None, deployment_file: str | None
) -> None:
    """Check the ledger's invariants against its rows and the chain; exit 1 if one is broken."""
    from contracts.units import format_usdc
    from ledger.audit import find_bad_debt
    from ledger.database.engine import read
    from ledger.spending.debts import load_written_off
    from scripts.audit import audit as find_violations
    from scripts.audit import open_for_audit
    from scripts.stack.up import StackRecord, load_stack_record
    from serving.process.logs import configure_logs

    configure_logs(level="warning")

    def action(console: Console) -> None:
        if ledger_url is None or rpc_url is None or deployment_file is None:
            record = load_stack_record(name)
        else:
            record = StackRecord(rpc_url, ledger_url, deployment_file, api_url="")
        engine, web3 = open_for_audit(record.ledger_url, record.rpc_url)
        deployment = load_deployment(Path(record.deployment_file))
        violations = find_violations(engine, web3, deployment)
        with read(engine) as connection:
            debts = find_bad_debt(connection)
            given_up = load_written_off(connection)
        for debt in debts:
            console.print(f"[yellow]bad debt[/yellow] {debt.subject}: {debt.detail}")
        for lost in given_up:
            console.print(
                f"[yellow]written off[/yellow] position {lost.token_id}:"
                f" {format_usdc(lost.amount_usdc)} USDC of {lost.requests} requests"
            )
        for violation in violations:
            console.print(
                f"[red]{violation.invariant}[/red] {violation.subject}: {violation.detail}",
                soft_wrap=True,
            )
        if violations:
            sys.exit(1)
        console.print("[green]L1 to L8 hold[/green]: the ledger agrees with itself and the chain")

    _run(action)


@commands.group()
def receipt() -> None:
    """Receipts."""


@receipt.command("verify")
@click.argument("request_id", required=False)
@click.option("--file", "path", type=click.Path(path_type=Path), help="A receipt saved as JSON.")
@click.option("--offline", is_flag=True, help="Ask no chain: --file's proof and its own root only.")
@click.option("--api-key", envvar="CURRENT_API_KEY", help="To fetch the receipt.")
@click.option("--name", default="devnet", show_default=True, help="A stack started by `up`.")
@click.option("--rpc-url", envvar="CURRENT_RPC_URL", help="With --file, instead of --name.")
@click.option("--deployment-file", envvar="CURRENT_DEPLOYMENT_FILE")
def verify(
    request_id: str | None,
    path: Path | None,
    offline: bool,
    api_key: str | None,
    name: str,
    rpc_url: str | None,
    deployment_file: str | None,
) -> None:
    """Check a receipt's Merkle proof against the root on chain; exit 1 if it fails."""
    from contracts.chain import open_web3
    from scripts.receipt import check_offline, verify_receipt
    from scripts.stack.up import load_stack_record

    if (path is None) == (request_id is None):
        raise click.UsageError("name a request id or --file")
    if path is None and (offline or (rpc_url is not None and deployment_file is not None)):
        raise click.UsageError("a request id is asked for at a stack; else save it, and use --file")

    def action(console: Console) -> None:
        if path is not None and offline:
            root = check_offline(json.loads(path.read_text(encoding="utf-8")))
            console.print(
                f"[green]consistent[/green]: leads to the root {root}; the chain was not asked",
                soft_wrap=True,
            )
            return
        api_url = ""
        node, record_file = rpc_url, deployment_file
        if node is None or record_file is None:
            stack = load_stack_record(name)
            node, record_file, api_url = stack.rpc_url, stack.deployment_file, stack.api_url
        if path is not None:
            view = json.loads(path.read_text(encoding="utf-8"))
        else:
            view = _get(f"{api_url}/receipts/{request_id}", api_key)
        deployment = load_deployment(Path(record_file))
        tx_hash = verify_receipt(view, open_web3(node), deployment)
        console.print(f"[green]valid[/green]: settled in {tx_hash}", soft_wrap=True)

    _run(action)


def _get(url: str, api_key: str | None = None) -> Any:
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    try:
        answer = httpx.get(url, headers=headers, timeout=10)
    except httpx.HTTPError as error:
        raise click.ClickException(f"{url} did not answer: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise click.ClickException(f"{answer.status_code}: {answer.text[:500]}")
    return answer.json()


def main() -> None:
    """Run the command line."""
    commands()


if __name__ == "__main__":
    main()
