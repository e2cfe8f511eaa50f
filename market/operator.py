"""What the operator does at the command line: credit for buyers, terms of sellers, its own key."""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine

from contracts.errors import Fatal
from contracts.units import format_usdc
from ledger.database.clock import ask_now_s
from ledger.database.engine import read, write
from ledger.resale.connections import approve_name, load_names, revoke_name
from ledger.selling.accounts import NewKey, add_credit, save_account, save_key, set_seller_terms
from ledger.selling.convictions import overturn
from ledger.selling.offers import resume_offer as resume
from market.identity.keys import Role, is_address, make_key
from market.records.conviction_records import ConvictionRecord, load_convictions
from market.records.seller_records import SellerRecord, load_seller_records
from market.resale.connection_terms import parse_name
from market.resale.operations import TermsRefused
from serving.process.ids import new_id
from serving.process.terminal_text import clean_line

OPERATOR_ACCOUNT: Final = "operator"


class ArgumentInvalid(Fatal):
    """An argument names nothing that is there, or an amount that cannot be."""


def issue_operator_key(engine: Engine) -> str:
    """Return a new key of the operator's account, opening the account where there is none.

    Raises ``TooMany`` where the operator has 25 live keys, and ``LedgerUnavailable``.
    """
    now_s = ask_now_s(engine)
    key = make_key(Role.BUYER)
    with write(engine) as connection:
        save_account(
            connection, account_id=OPERATOR_ACCOUNT, kind="operator", wallet=None, now_s=now_s
        )
        save_key(
            connection,
            NewKey(new_id(), key.key_hash, Role.BUYER, OPERATOR_ACCOUNT, "operator", None),
            now_s=now_s,
        )
    return key.text


def credit(engine: Engine, account: str, amount_usdc: int, credit_id: str) -> str:
    """Add prepaid money (1e-6 USDC) to an account, once for each ``credit_id``; say what was done.

    ``account`` is an account's id or a wallet; a wallet without an account gets one. Raises
    ``ArgumentInvalid`` where there is no such account, and ``LedgerUnavailable``.
    """
    now_s = ask_now_s(engine)
    try:
        with write(engine) as connection:
            account_id = account
            if is_address(account):
                account_id = save_account(
                    connection,
                    account_id=new_id(),
                    kind="prepaid",
                    wallet=account.lower(),
                    now_s=now_s,
                )
            is_new = add_credit(
                connection,
                credit_id=credit_id,
                account_id=account_id,
                amount_usdc=amount_usdc,
                source="operator",
                now_s=now_s,
            )
    except ValueError as error:
        raise ArgumentInvalid(str(error)) from None
    done = "credited" if is_new else "was credited before:"
    return f"{done} {format_usdc(amount_usdc)} USDC to account {account_id} ({credit_id})"


def agree_fee(engine: Engine, address: str, fee_bps: int) -> str:
    """Agree a fee (1/10,000 of the seller's price) for sales to come; say so.

    Raises ``ArgumentInvalid`` where there is no such seller, and ``LedgerUnavailable``.
    """
    seller = _agree(engine, address, fee_bps=fee_bps)
    return f"seller {seller} pays a fee of {fee_bps} bps from now on"


def agree_trust(engine: Engine, address: str, *, is_trusted: bool) -> str:
    """Say whether a seller counts as trusted from now on. Raises like ``agree_fee``."""
    seller = _agree(engine, address, is_trusted=is_trusted)
    return f"seller {seller} is {'' if is_trusted else 'not '}trusted from now on"


def note_seller(engine: Engine, address: str, note: str) -> str:
    """Write down what the operator knows of a seller; say so. Raises like ``agree_fee``."""
    seller = _agree(engine, address, note=note)
    return f"noted of seller {seller}"


def list_sellers(engine: Engine, *, only_pending: bool = False) -> list[str]:
    """Return a line for each seller, those that wait for a decision first: what it offers and what
    became of its sales. Raises ``LedgerUnavailable``."""
    with read(engine) as connection:
        records = load_seller_records(connection, only_pending=only_pending)
    return [describe_record(record) for record in records]


def describe_record(record: SellerRecord) -> str:
    """Return what an operator decides by, on one line."""
    words = [
        record.address,
        "pending" if record.is_pending else "approved" if record.is_trusted else "refused",
        f"since {datetime.fromtimestamp(record.created_at_s, UTC).date()}",
        f"{record.offers} offers",
        f"{record.served} served",
        f"{record.cut} cut",
        f"{record.failed} failed",
        f"{format_usdc(record.earned_usdc)} USDC earned",
    ]
    if record.suspended:
        words.append(f"{record.suspended} suspended: {record.evidence}")
    if record.doubted:
        first = record.doubted_offer_id
        words.append(f"{record.doubted} doubted, whose earnings wait (offer-resume {first})")
    if record.note:
        words.append(f"note: {record.note}")
    # Evidence has words of a seller's: none of them may move a terminal's cursor.
    return clean_line(", ".join(words))


def resume_offer(engine: Engine, offer_id: str) -> str:
    """Let an offer that was suspended back into the order; say so.

    Raises ``ArgumentInvalid`` where it is neither suspended nor doubted, and ``LedgerUnavailable``.
    """
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        if not resume(connection, offer_id=offer_id, now_s=now_s):
            raise ArgumentInvalid(f"no suspended or doubted offer {offer_id!r}")
    return f"the market lets offer {offer_id} serve again"


def list_convictions(engine: Engine) -> list[str]:
    """Return a line for each conviction, newest first: what was refunded, and what could not be.

    Raises ``LedgerUnavailable``.
    """
    with read(engine) as connection:
        found = load_convictions(connection)
    return [_describe_conviction(one) for one in found]


def _describe_conviction(one: ConvictionRecord) -> str:
    words = [
        f"{one.conviction_id} {one.state}",
        f"offer {one.offer_id} of {one.model}",
        f"seller {one.seller}",
        f"since {datetime.fromtimestamp(one.refunds_from_s, UTC).isoformat(timespec='seconds')}",
        f"{format_usdc(one.refunded_usdc)} USDC refunded to {one.buyers} buyers",
        f"{format_usdc(one.waiting_usdc)} USDC to be refunded",
        f"{format_usdc(one.vested_usdc)} USDC had vested",
        f"{format_usdc(one.borne_usdc)} USDC borne by the market",
        one.evidence,
    ]
    # Models' names are sellers' words.
    return clean_line(", ".join(words))


def overturn_conviction(engine: Engine, conviction_id: str) -> str:
    """Take a conviction back and let its offer serve again; say what became of the money.

    Raises ``ArgumentInvalid`` where there is none to take back, and ``LedgerUnavailable``.
    """
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        done = overturn(connection, conviction_id, now_s=now_s)
        if done is None:
            raise ArgumentInvalid(f"no conviction {conviction_id!r} that stands")
    released, borne = format_usdc(done.released_usdc), format_usdc(done.borne_usdc)
    return (
        f"overturned: offer {done.offer_id} serves again, {released} USDC held back are its"
        f" seller's; buyers keep what they were refunded, and the market pays the seller its"
        f" {borne} USDC of that"
    )


def _agree(
    engine: Engine,
    address: str,
    *,
    fee_bps: int | None = None,
    is_trusted: bool | None = None,
    note: str | None = None,
) -> str:
    """Write down what was agreed with a seller; return its address in lower case."""
    seller = address.lower()
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        found = is_address(address) and set_seller_terms(
            connection,
            address=seller,
            fee_bps=fee_bps,
            is_trusted=is_trusted,
            note=note,
            now_s=now_s,
        )
        if not found:
            raise ArgumentInvalid(f"no seller {address!r}: a wallet is one once it has signed in")
    return seller


def list_api_names(engine: Engine) -> list[str]:
    """Return a line for each approved name of an API. Raises ``LedgerUnavailable``."""
    with read(engine) as connection:
        return [f"{name}  {owner}" for name, owner in sorted(load_names(connection))]


def approve_api_name(engine: Engine, name: str, address: str) -> str:
    """Let a seller sell under an API's own name; say so.

    Raises ``ArgumentInvalid`` for what is no name, and ``LedgerUnavailable``.
    """
    try:
        parse_name(name)
    except TermsRefused as error:
        raise ArgumentInvalid(f"the name {error}") from None
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        approve_name(connection, name=name, owner=address.lower(), now_s=now_s)
    return f"{address} sells its connection {name} under that name"


def revoke_api_name(engine: Engine, name: str, address: str) -> str:
    """Take an approval back; say so.

    Raises ``ArgumentInvalid`` where there is none, and ``LedgerUnavailable``.
    """
    now_s = ask_now_s(engine)
    with write(engine) as connection:
        if not revoke_name(connection, name=name, owner=address.lower(), now_s=now_s):
            raise ArgumentInvalid(f"{address} was not approved for {name}")
    return f"{address} sells {name} under its own name only"
