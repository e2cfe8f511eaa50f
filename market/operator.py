"""What the operator does at the command line: credit for buyers, a key for its own proxy.

::

    python -m market operator-key                      prints a new key of the operator's account
    python -m market credit ACCOUNT USDC CREDIT_ID     adds prepaid money, once for each id

ACCOUNT is an account's id, ``operator``, or a buyer's wallet. USDC is a decimal amount.
"""

import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Engine

from contracts.errors import Rejected
from contracts.units import format_usdc, parse_usdc
from ledger.engine import write
from ledger.market import NewKey, add_credit, save_account, save_key
from market.ids import new_id
from market.keys import Role, is_address, make_key

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
    raise CommandInvalid("commands: operator-key; credit ACCOUNT USDC CREDIT_ID")


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
