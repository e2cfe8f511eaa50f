"""What the operator does at the command line: credit for buyers, terms of sellers, its own key.

::

    python -m market operator-key                      prints a new key of the operator's account
    python -m market credit ACCOUNT USDC CREDIT_ID     adds prepaid money, once for each id
    python -m market seller-fee ADDRESS BPS            agrees a fee with a seller, for sales to come
    python -m market seller-trust ADDRESS yes|no       says whether a seller counts as trusted

ACCOUNT is an account's id, ``operator``, or a buyer's wallet. USDC is a decimal amount. BPS are
hundredths of a per cent of a seller's price, 0 to 10000.
"""

import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Engine

from contracts.errors import Rejected
from contracts.units import BPS_ONE, format_usdc, parse_usdc
from ledger.database.engine import write
from ledger.selling.accounts import NewKey, add_credit, save_account, save_key, set_seller_terms
from market.identity.keys import Role, is_address, make_key
from serving.process.ids import new_id

OPERATOR_ACCOUNT: Final = "operator"


class CommandInvalid(Rejected):
    """The command line asks for nothing that is known here."""


def run_command(engine: Engine, arguments: Sequence[str]) -> str:
    """Run one command over a migrated ledger and return what to print.

    Raises ``CommandInvalid``, ``TooMany`` where the operator has 25 live keys, and
    ``LedgerUnavailable``.
    """
    now_s = int(time.time())
    match list(arguments):
        case ["operator-key"]:
            with write(engine) as connection:
                return issue_operator_key(connection, now_s=now_s)
        case ["credit", account, amount, credit_id]:
            try:
                amount_usdc = parse_usdc(amount)
                with write(engine) as connection:
                    return _credit(connection, account, amount_usdc, credit_id, now_s=now_s)
            except ValueError as error:
                raise CommandInvalid(str(error)) from None
        case ["seller-fee", address, bps]:
            if not bps.isascii() or not bps.isdecimal() or int(bps) > BPS_ONE:
                raise CommandInvalid(f"not a fee from 0 to {BPS_ONE}: {bps!r}")
            with write(engine) as connection:
                return _agree(connection, address, fee_bps=int(bps), now_s=now_s)
        case ["seller-trust", address, ("yes" | "no") as answer]:
            with write(engine) as connection:
                return _agree(connection, address, is_trusted=answer == "yes", now_s=now_s)
    raise CommandInvalid(
        "commands: operator-key; credit ACCOUNT USDC CREDIT_ID; seller-fee ADDRESS BPS;"
        " seller-trust ADDRESS yes|no"
    )


def _agree(
    connection: Connection,
    address: str,
    *,
    fee_bps: int | None = None,
    is_trusted: bool | None = None,
    now_s: int,
) -> str:
    """Write down what was agreed with a seller. Raises ``CommandInvalid`` where there is none."""
    seller = address.lower()
    found = is_address(address) and set_seller_terms(
        connection, address=seller, fee_bps=fee_bps, is_trusted=is_trusted, now_s=now_s
    )
    if not found:
        raise CommandInvalid(f"no seller {address!r}: a wallet is one once it has signed in")
    if fee_bps is not None:
        return f"seller {seller} pays a fee of {fee_bps} bps from now on"
    return f"seller {seller} is {'' if is_trusted else 'not '}trusted from now on"


def issue_operator_key(connection: Connection, *, now_s: int) -> str:
    """Return a new key of the operator's account, opening the account where there is none."""
    save_account(connection, account_id=OPERATOR_ACCOUNT, kind="operator", wallet=None, now_s=now_s)
    key = make_key(Role.BUYER)
    save_key(
        connection,
        NewKey(new_id(), key.key_hash, Role.BUYER, OPERATOR_ACCOUNT, "operator", None),
        now_s=now_s,
    )
    return key.text


def _credit(
    connection: Connection, account: str, amount_usdc: int, credit_id: str, *, now_s: int
) -> str:
    account_id = account
    if is_address(account):
        account_id = save_account(
            connection, account_id=new_id(), kind="prepaid", wallet=account.lower(), now_s=now_s
        )
    is_new = add_credit(
        connection,
        credit_id=credit_id,
        account_id=account_id,
        amount_usdc=amount_usdc,
        source="operator",
        now_s=now_s,
    )
    done = "credited" if is_new else "was credited before:"
    return f"{done} {format_usdc(amount_usdc)} USDC to account {account_id} ({credit_id})"
