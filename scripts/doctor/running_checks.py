"""What runs here, by its own metrics, and what it depends on beyond node and ledger."""

import re
from collections.abc import Iterator
from typing import Any, Final

import httpx
from sqlalchemy import func, select

from contracts.chain import translated
from contracts.units import format_usdc
from keeper.operator_words import ALARM_MENDS
from ledger.database.engine import read
from ledger.tables import MarketOffer, MarketPayout, table_of
from scripts.doctor.examination import Finding, advise, bad, check, good
from scripts.doctor.patient import Patient

TIMEOUT_S: Final = 5.0
_ALARM: Final = re.compile(r'^current_keeper_alarm\{alarm="(\w+)"\} 1(?:\.0)?$', re.MULTILINE)
_LEADS: Final = re.compile(r"^current_indexer_is_leader (\S+)$", re.MULTILINE)

_offer = table_of(MarketOffer)
_payout = table_of(MarketPayout)


def _read_metrics(host: str, port: int) -> str | None:
    """Return a process's metrics, None where nobody answers."""
    try:
        answer = httpx.get(f"http://{host}:{port}/metrics", timeout=TIMEOUT_S)
    except httpx.HTTPError:
        return None
    return answer.text if answer.status_code == 200 else None


@check("servers.keeper")
def check_keeper(patient: Patient) -> Iterator[Finding]:
    """The keeper runs, and none of its alarms stands."""
    settings = patient.keeper
    if not settings.metrics_port:
        return
    said = _read_metrics(settings.metrics_host, settings.metrics_port)
    if said is None or "current_keeper_rounds_total" not in said:
        says = f"does not answer at port {settings.metrics_port}: nothing is held or settled"
        yield bad("keeper", says, "systemctl start current-keeper; journalctl -u current-keeper")
        return
    standing = _ALARM.findall(said)
    for alarm in standing:
        yield bad("keeper", f"its alarm {alarm} stands", ALARM_MENDS[alarm])
    if not standing:
        yield good("keeper", "runs, and no alarm stands")


@check("servers.indexer")
def check_indexer(patient: Patient) -> Iterator[Finding]:
    """The indexer runs."""
    settings = patient.indexer
    if not settings.metrics_port:
        return
    said = _read_metrics(settings.metrics_host, settings.metrics_port)
    leads = None if said is None else _LEADS.search(said)
    if leads is None:
        says = f"does not answer at port {settings.metrics_port}: the mirror grows old"
        yield bad("indexer", says, "systemctl start current-indexer; journalctl -u current-indexer")
    else:
        yield good("indexer", "runs and leads" if float(leads[1]) else "runs, and stands by")


@check("keys.gas_price")
def check_gas_price(patient: Patient) -> Iterator[Finding]:
    """What gas costs now is not above what the keeper pays at most; and ether has a price."""
    settings = patient.keeper
    with translated():
        base_fee_wei = int(patient.web3.eth.get_block("latest")["baseFeePerGas"])
    price_wei = base_fee_wei + settings.tip_wei
    if price_wei > settings.fee_wei_max:
        says = f"gas costs {price_wei} wei now, above KEEPER_FEE_WEI_MAX: nothing is sent"
        yield bad("gas", says, f"KEEPER_FEE_WEI_MAX={2 * price_wei}, or wait")
    else:
        yield good("gas", f"costs {price_wei} wei, at most {settings.fee_wei_max} are paid")
    if settings.ether_price_usdc == 0:
        says = "gas counts as free: dust is settled and harvested at a loss"
        yield advise("gas", says, "KEEPER_ETHER_PRICE_USDC=<one ether in 1e-6 USDC>")


@check("contracts.usdc")
def check_usdc(patient: Patient) -> Iterator[Finding]:
    """USDC moves, also from and to our contracts; and the recommended vault takes deposits."""
    from eth_utils.address import to_checksum_address

    from contracts.bindings import bind
    from contracts.errors import CurrentError

    usdc, record = patient.contracts.usdc.functions, patient.deployment
    try:
        with translated():
            if usdc.paused().call():
                says = "is paused by its issuer: nothing can be deposited, withdrawn or paid"
                yield bad("usdc", says, "wait for the issuer; usage is served from live holds")
            for name in ("position", "adapter", "payouts"):
                address = to_checksum_address(getattr(record, name))
                if usdc.isBlacklisted(address).call():
                    says = f"its issuer has blacklisted {name} at {address}: its USDC is frozen"
                    yield bad("usdc", says, "stop the processes, and ask the issuer")
    except CurrentError:
        pass  # a stand-in of USDC has neither
    vault = bind(patient.web3, "MockVault", record.vault).functions
    with translated():
        room = vault.maxDeposit(to_checksum_address(record.adapter)).call()
    if room == 0:
        says = "takes no deposits now: new depositors of the recommended vault are refused"
        yield advise("vault", says, "look at the vault; name another one to depositors")
    else:
        yield good("vault", "takes deposits")


@check("ledger.treasury")
def check_treasury(patient: Patient) -> Iterator[Finding]:
    """What sellers wait for is in the treasury."""
    if "market" not in patient.settings:
        return
    with read(patient.engine) as connection:
        waiting_usdc = int(
            connection.scalar(
                select(func.coalesce(func.sum(_payout.c.amount_usdc), 0)).where(
                    _payout.c.batch_id.is_(None)
                )
            )
            or 0
        )
    with translated():
        available_usdc = int(patient.contracts.payouts.functions.available().call())
        owed_usdc = int(patient.contracts.position.functions.owed().call())
    if waiting_usdc > available_usdc + owed_usdc:
        says = (
            f"sellers wait for {format_usdc(waiting_usdc)} USDC, and the treasury has"
            f" {format_usdc(available_usdc)}, with {format_usdc(owed_usdc)} to be swept"
        )
        yield bad(
            "treasury", says, f"send USDC to the payouts contract {patient.deployment.payouts}"
        )
    else:
        yield good("treasury", f"has {format_usdc(available_usdc)} USDC")


@check("market.offers")
def check_offers(patient: Patient) -> Iterator[Finding]:
    """Somebody sells at the market."""
    if "market" not in patient.settings:
        return
    with read(patient.engine) as connection:
        count = connection.scalar(
            select(func.count()).select_from(_offer).where(_offer.c.status == "active")
        )
    if not count:
        says = "nobody sells anything: every request ends as model_not_found"
        yield advise("offers", says, f"list one at {patient.market.public_url}, and approve it")
    else:
        yield good("offers", f"{count} are active")


@check("market.nowpayments")
def check_nowpayments(patient: Patient) -> Iterator[Finding]:
    """NOWPayments takes the operator's account, where USDT is paid through it."""
    settings = patient.market
    if not settings.has_nowpayments:
        return
    secrets: dict[str, Any] = {
        "MARKET_NOWPAYMENTS_EMAIL": settings.nowpayments_email,
        "MARKET_NOWPAYMENTS_PASSWORD": settings.nowpayments_password.get_secret_value(),
        "MARKET_NOWPAYMENTS_TOTP_SECRET": settings.nowpayments_totp_secret.get_secret_value(),
        "MARKET_NOWPAYMENTS_IPN_SECRET": settings.nowpayments_ipn_secret.get_secret_value(),
    }
    missing = [name for name, value in secrets.items() if not value]
    for name in missing:
        yield bad("nowpayments", f"{name} is not set: payouts wait", f"{name}_FILE=<file>")
    if missing:
        return
    try:
        answer = httpx.post(
            f"{settings.nowpayments_url}/v1/auth",
            json={
                "email": secrets["MARKET_NOWPAYMENTS_EMAIL"],
                "password": secrets["MARKET_NOWPAYMENTS_PASSWORD"],
            },
            headers={"x-api-key": settings.nowpayments_api_key.get_secret_value()},
            timeout=TIMEOUT_S,
        )
    except httpx.HTTPError as error:
        says = f"does not answer: {type(error).__name__}"
        yield bad("nowpayments", says, "is MARKET_NOWPAYMENTS_URL right, may this host reach it?")
        return
    if answer.is_error:
        says = f"refuses the account ({answer.status_code})"
        yield bad(
            "nowpayments", says, "MARKET_NOWPAYMENTS_API_KEY, …_EMAIL, …_PASSWORD; its IP list"
        )
    else:
        yield good("nowpayments", "takes the account")
