"""What a deployment is doing, read at one moment from the ledger and the node.

Amounts are in 1e-6 USDC or wei, times in Unix seconds or seconds, as the names say.
"""

from collections.abc import Callable, Mapping

from eth_utils.address import to_checksum_address
from sqlalchemy import Connection

from contracts.chain import translated
from contracts.errors import CurrentError
from keeper.alarms import Vitals, decide_alarms
from ledger.chain.mirror import MirrorState, load_mirror
from ledger.database.engine import read
from ledger.database.schema import load_revision
from ledger.intents.rests import WHOLE_KIND, load_rests
from ledger.payments.outcomes import load_waiting_payments
from ledger.spending.debts import load_debts, load_posted
from market.records.standing_records import (
    Facts,
    gather_chain,
    gather_keeper,
    gather_market,
    gather_positions,
    gather_processes,
    gather_usage,
)
from scripts.doctor.key_checks import find_senders
from scripts.doctor.patient import Absent, Patient


def gather(patient: Patient) -> Facts:
    """Return everything that a status shows. Raises ``LedgerUnavailable`` and ``Absent``."""
    now_s = int(patient.now())
    with read(patient.engine) as connection:
        mirror = load_mirror(connection)
        facts: Facts = {
            "at_s": now_s,
            "schema": load_revision(connection),
            "chain": gather_chain(mirror, now_s),
            "positions": gather_positions(connection, now_s),
            "usage": gather_usage(connection, now_s),
            "keeper": gather_keeper(connection, now_s),
            "market": gather_market(connection, now_s),
            "processes": gather_processes(connection, now_s),
        }
        vitals = _read_vitals(connection, mirror, now_s)
    facts["chain"] |= _ask_head(patient, mirror)
    facts["keeper"]["balances_wei"] = balances = _ask_balances(patient)
    facts["alarms"] = _find_alarms(patient, vitals, balances)
    return facts


def _ask_head(patient: Patient, mirror: MirrorState | None) -> Facts:
    """Return the node's own head; the lag is counted from it where it answers."""
    try:
        head = patient.readers[patient.good_url].fetch_head()
    except (CurrentError, Absent):
        return {"head_block": None}
    lag = {} if mirror is None else {"lag_blocks": max(0, head.number - mirror.block_number)}
    return {"head_block": head.number, **lag}


def _ask_balances(patient: Patient) -> dict[str, int]:
    try:
        senders = find_senders(patient)
        with translated():
            return {
                one.role: int(patient.web3.eth.get_balance(to_checksum_address(one.address)))
                for one in senders
            }
    except (CurrentError, Absent):
        return {}


def _read_vitals(
    connection: Connection, mirror: MirrorState | None, now_s: int
) -> Callable[[int | None], Vitals]:
    """Return how to make what alarms are decided from, once the senders' ether is known."""
    posted, rests = load_posted(connection), load_rests(connection)
    debts = load_debts(connection, now_s=now_s)
    payments = load_waiting_payments(connection)
    oldest_s = min((one.since_s for one in posted.values()), default=None)
    paid_s = min(payments.since_s.values(), default=None)

    def build(balance_wei: int | None) -> Vitals:
        return Vitals(
            mirror_age_s=None if mirror is None else mirror.age_s(now_s=now_s),
            oldest_posted_s=None if oldest_s is None else now_s - oldest_s,
            posted_usdc=sum(one.amount_usdc for one in posted.values()),
            debts_usdc={debt.token_id: debt.debt_usdc for debt in debts},
            stopped_kinds=[
                kind
                for (kind, subject), rest in rests.items()
                if subject == WHOLE_KIND and rest.until_s > now_s
            ],
            balance_wei=balance_wei,
            oldest_payment_s=None if paid_s is None else now_s - paid_s,
            payments_usdc=payments.value_usdc,
            clock_behind_s=0 if mirror is None else max(0, mirror.observed_at_s - now_s),
        )

    return build


def _find_alarms(
    patient: Patient, build: Callable[[int | None], Vitals], balances: Mapping[str, int]
) -> list[Facts]:
    """Return the alarms that stand, as the keeper decides them."""
    try:
        rules = patient.keeper.alarm_rules()
    except Absent:
        return []
    balance_wei = min(balances.values(), default=None)
    alarms = decide_alarms(build(balance_wei), rules)
    return [{"alarm": alarm.name, **alarm.facts} for alarm in alarms]
