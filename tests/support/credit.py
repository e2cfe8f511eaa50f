"""Credit that was paid in by x402, for tests below HTTP."""

from typing import Any, Final

from sqlalchemy import Engine, insert, update

from ledger.database.engine import write
from ledger.tables import MarketAccount, MarketCredit, X402Payment, table_of
from tests.support.ledgers import NOW_S

WALLET: Final = "0x" + "aa" * 20
_account = table_of(MarketAccount)
_payment = table_of(X402Payment)


def pay_in(engine: Engine, name: str, usdc: int, **changes: Any) -> None:
    """Write down a payment that is credit of the account ``ac``: final, unless told otherwise."""
    values = {
        "payment_id": name,
        "account_id": "ac",
        "payer": WALLET,
        "payee": "0xb",
        "value_usdc": usdc,
        "valid_after_s": 0,
        "valid_before_s": NOW_S,
        "nonce": f"nonce of {name}",
        "signature": "0xd",
        "purpose": "topup",
        "request_digest": "e",
        "state": "settled",
        "failures": 0,
        "look_at_s": 0,
        "from_block": 0,
        "settled_block": 7,
        "settled_block_hash": "0x07",
        "is_final": True,
        "credited_usdc": usdc,
        "created_at_s": NOW_S,
        "updated_at_s": NOW_S,
        **changes,
    }
    with write(engine) as connection:
        connection.execute(insert(_payment).values(values))
        connection.execute(
            insert(table_of(MarketCredit)).values(
                credit_id=f"x402:{name}:0",
                account_id="ac",
                amount_usdc=usdc,
                source="x402",
                credited_at_s=NOW_S,
            )
        )
        connection.execute(update(_account).values(credited_usdc=_account.c.credited_usdc + usdc))
