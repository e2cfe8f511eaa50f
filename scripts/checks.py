"""``current audit``, ``current receipt verify`` and ``current evidence verify``: what anybody may
check, with its commands."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serving.process.command_line import HTTP_URL, Failed, argument, command, group
from serving.process.exit_codes import ExitCode

if TYPE_CHECKING:
    from scripts.stack.up import StackRecord

name_option = click.option("--name", default="devnet", help="A stack started by `current up`.")
rpc_option = click.option(
    "--rpc-url",
    type=HTTP_URL,
    envvar="CURRENT_RPC_URL",
    show_envvar=True,
    help="JSON-RPC endpoint of the chain, instead of --name.",
)
deployment_option = click.option(
    "--deployment-file",
    envvar="CURRENT_DEPLOYMENT_FILE",
    show_envvar=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The record that the deploy script wrote, instead of --name.",
)


def api_key_options(purpose: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds the options that say where an API key is; ``purpose`` says what for."""
    options = (
        click.option("--api-key", envvar="CURRENT_API_KEY", show_envvar=True, help=purpose),
        click.option(
            "--api-key-file",
            envvar="CURRENT_API_KEY_FILE",
            show_envvar=True,
            type=click.Path(dir_okay=False, path_type=Path),
            help="A file with that key: an argument shows in the list of processes.",
        ),
    )

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@command("audit", is_check=True)
@name_option
@click.option(
    "--ledger-url",
    envvar="CURRENT_LEDGER_URL",
    show_envvar=True,
    help="SQLAlchemy URL of the ledger, instead of --name.",
)
@rpc_option
@deployment_option
def audit(
    name: str, ledger_url: str | None, rpc_url: str | None, deployment_file: Path | None
) -> ExitCode:
    """Check the ledger's invariants L1 to L9, R1 to R4 and S1 to S5 against its rows and the chain.

    Takes a stack's --name, or --ledger-url, --rpc-url and --deployment-file together.
    """
    from contracts.deployment import load_deployment
    from contracts.units import format_usdc
    from ledger.audit import find_bad_debt
    from ledger.database.engine import read
    from ledger.spending.debts import load_written_off
    from scripts.audit import audit as find_violations
    from scripts.audit import open_for_audit

    places = (ledger_url, rpc_url, deployment_file)
    if any(places) and not all(places):
        raise click.UsageError("--ledger-url, --rpc-url and --deployment-file go together")
    if ledger_url is None or rpc_url is None or deployment_file is None:
        record = _load_stack(name)
        ledger_url, rpc_url = record.ledger_url, record.rpc_url
        deployment_file = Path(record.deployment_file)
    engine, web3 = open_for_audit(ledger_url, rpc_url)
    violations = find_violations(engine, web3, load_deployment(deployment_file))
    with read(engine) as connection:
        debts = find_bad_debt(connection)
        given_up = load_written_off(connection)
    for debt in debts:
        _say("bad debt", f"{debt.subject}: {debt.detail}", color="yellow")
    for lost in given_up:
        amount = f"{format_usdc(lost.amount_usdc)} USDC of {lost.requests} requests"
        _say("written off", f"position {lost.token_id}: {amount}", color="yellow")
    for violation in violations:
        _say(violation.invariant, f"{violation.subject}: {violation.detail}", color="red")
    if violations:
        return ExitCode.FAILED
    _say(
        "L1 to L9, R1 to R4 and S1 to S5 hold:",
        "the ledger agrees with itself and the chain",
        color="green",
    )
    return ExitCode.DONE


@group("receipt")
def receipt() -> None:
    """Receipts of requests."""


archive_type = click.Path(exists=True, file_okay=False, path_type=Path)


@receipt.command("show")
@argument("request_id", help="The archived request.")
@click.option(
    "--archive", type=archive_type, required=True, help="A folder of `current ledger archive`."
)
def show(request_id: str, archive: Path) -> ExitCode:
    """Print the receipt of an archived request, with its proof: --file of `verify` takes it."""
    click.echo(json.dumps(_load_archived(archive, request_id), indent=2))
    return ExitCode.DONE


def _load_archived(folder: Path, request_id: str) -> dict[str, Any]:
    from ledger.spending.archive_files import ArchiveFolder

    view = ArchiveFolder(folder).load_receipt(request_id)
    if view is None:
        raise Failed(
            f"{folder} has no request {request_id}: it is still in the ledger, or of another one",
            ExitCode.FAILED,
        )
    return view


@receipt.command("verify", is_check=True)
@argument("request_id", required=False, help="The request whose receipt a stack is asked for.")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A receipt saved as JSON, instead of REQUEST_ID.",
)
@click.option(
    "--archive",
    type=archive_type,
    help="A folder of `current ledger archive` that has REQUEST_ID; no proxy is asked.",
)
@click.option("--offline", is_flag=True, help="Ask no chain: --file's proof and its own root only.")
@api_key_options("To fetch the receipt with.")
@name_option
@rpc_option
@deployment_option
def verify(
    request_id: str | None,
    path: Path | None,
    archive: Path | None,
    offline: bool,
    api_key: str | None,
    api_key_file: Path | None,
    name: str,
    rpc_url: str | None,
    deployment_file: Path | None,
) -> ExitCode:
    """Check a receipt's Merkle proof against the root on chain."""
    from contracts.chain import open_web3
    from contracts.deployment import load_deployment
    from ledger.spending.receipt_views import ReceiptInvalid, check_offline
    from scripts.asking import get_json
    from scripts.receipt import verify_receipt

    if (path is None) == (request_id is None):
        raise click.UsageError("name a request id or --file")
    if api_key is None and api_key_file is not None:
        api_key = api_key_file.read_text(encoding="utf-8").strip()
    view = None
    if request_id is not None and archive is not None:
        view = _load_archived(archive, request_id)
    elif path is None and (offline or (rpc_url is not None and deployment_file is not None)):
        raise click.UsageError("a request id is asked for at a stack; else save it, and use --file")
    try:
        if path is not None:
            view = _load_view(path)
        if view is not None and offline:
            root = check_offline(view)
            _say("consistent:", f"leads to the root {root}; the chain was not asked", color="green")
            return ExitCode.DONE
        api_url = ""
        if rpc_url is None or deployment_file is None:
            stack = _load_stack(name)
            rpc_url, api_url = stack.rpc_url, stack.api_url
            deployment_file = Path(stack.deployment_file)
        if view is None:
            view = get_json(f"{api_url}/receipts/{request_id}", api_key=api_key)
        tx_hash = verify_receipt(view, open_web3(rpc_url), load_deployment(deployment_file))
    except ReceiptInvalid as error:
        click.secho(f"invalid: {error}", fg="red", err=True)
        return ExitCode.FAILED
    _say("valid:", f"settled in {tx_hash}", color="green")
    return ExitCode.DONE


@group("evidence")
def evidence() -> None:
    """What the market's lab has found out about offers."""


@evidence.command("verify", is_check=True)
@argument("day", required=False, help="The UTC day, YYYY-MM-DD, that --url is asked for.")
@click.option("--url", type=HTTP_URL, help="The market that is asked for DAY's evidence.")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A day's evidence saved as JSON, instead of DAY and --url.",
)
@click.option(
    "--transcript",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A transcript saved as text: check that the day's root has it.",
)
@click.option("--transcript-hash", help="The same by its keccak, 0x hex.")
@name_option
@rpc_option
@deployment_option
def verify_day(
    day: str | None,
    url: str | None,
    path: Path | None,
    transcript: Path | None,
    transcript_hash: str | None,
    name: str,
    rpc_url: str | None,
    deployment_file: Path | None,
) -> ExitCode:
    """Check a day's evidence, and a transcript of it, against the root on chain."""
    from contracts.chain import open_web3
    from contracts.deployment import load_deployment
    from ledger.selling.evidence_views import EvidenceInvalid
    from ledger.spending.receipt_views import ReceiptInvalid, read_word
    from scripts.asking import get_json
    from scripts.evidence_check import hash_saved_transcript, verify_evidence

    if (path is None) == (day is None) or (day is None) != (url is None):
        raise click.UsageError("name DAY and --url, or --file")
    if transcript is not None and transcript_hash is not None:
        raise click.UsageError("--transcript and --transcript-hash: name one")
    if rpc_url is None or deployment_file is None:
        stack = _load_stack(name)
        rpc_url, deployment_file = stack.rpc_url, Path(stack.deployment_file)
    wanted = None
    try:
        if path is not None:
            view = _load_view(path)
        else:
            view = get_json(f"{str(url).rstrip('/')}/v1/evidence/{day}")
        if transcript_hash is not None:
            wanted = read_word({"--transcript-hash": transcript_hash}, "--transcript-hash")
        if transcript is not None:
            wanted = hash_saved_transcript(transcript.read_text(encoding="utf-8"), view)
        tx_hash, told = verify_evidence(
            view, open_web3(rpc_url), load_deployment(deployment_file), transcript_hash=wanted
        )
    except (EvidenceInvalid, ReceiptInvalid, ValueError) as error:
        click.secho(f"invalid: {error}", fg="red", err=True)
        return ExitCode.FAILED
    suffix = "" if told is None else f"; the transcript is of {told}"
    _say("valid:", f"the day's root is in {tx_hash}{suffix}", color="green")
    return ExitCode.DONE


def _load_stack(name: str) -> "StackRecord":
    from scripts.stack.up import load_stack_record

    return load_stack_record(name)


def _load_view(path: Path) -> dict[str, Any]:
    """Read a receipt or a day of evidence. Raises ``ReceiptInvalid`` and ``OSError``."""
    from ledger.spending.receipt_views import ReceiptInvalid

    try:
        view = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ReceiptInvalid(f"{path} cannot be read: its JSON is nested too deeply") from None
    except ValueError as error:
        raise ReceiptInvalid(f"{path} holds no JSON: {error}") from error
    if not isinstance(view, dict):
        raise ReceiptInvalid(f"{path} cannot be read: a JSON object was expected")
    return view


def _say(word: str, text: str, *, color: str) -> None:
    click.echo(f"{click.style(word, fg=color)} {text}")
