"""``MARKET_NONCE_LIFETIME_S``: how long the owners of a Safe may take to sign in.

::

    signed fifty minutes after the challenge was given
    ├── an hour is allowed: a key
    └── the default, five minutes: refused
"""

import time
from pathlib import Path

import pytest
from eth_account.messages import encode_defunct

from tests.support.ledgers import make_ledger
from tests.support.market import SELLER, make_settings, run_market

LATE_S = 3_000


@pytest.mark.parametrize(("lifetime_s", "status"), [(3_600, 201), (None, 400)])
async def test_challenge__signed_late__the_setting_decides(
    tmp_path: Path, lifetime_s: int | None, status: int
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    changes = {} if lifetime_s is None else {"nonce_lifetime_s": lifetime_s}
    settings = make_settings(tmp_path, **changes)
    async with run_market(settings, engine, host_clock=lambda: time.time() - LATE_S) as market:
        path = f"/v1/seller/auth/challenge?address={SELLER.address}"
        message = (await market.client.get(path)).json()["message"]
    signed = SELLER.sign_message(encode_defunct(text=message)).signature.to_0x_hex()

    async with run_market(settings, engine) as market:
        body = {"message": message, "signature": signed}
        answer = await market.client.post("/v1/seller/auth/keys", json=body)
    assert answer.status_code == status, answer.text
