"""What a wallet asks first: which chain, which contracts, which positions, how long it may sign.

::

    GET /deployment
    └── chain id, addresses, vault and block as the deployment's record has them; no node needed
    GET /positions?owner=
    ├── in any case of the letters: the same positions, by number
    └── a wallet without any: an empty list
    PROXY_NONCE_LIFETIME_S
    ├── an hour: signed by the last of a Safe's owners after fifty minutes, still a key
    └── five minutes, the default: the same message is refused
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from sqlalchemy import Engine

from ledger.database.engine import write
from proxy.keys.sign_in import SignIn
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import DEPLOYMENT, Databases, make_state, put_cursor, put_positions
from tests.support.proxy import now_s, run_proxy, settings_for

OWNER: Final = Account.from_key("0x" + "11" * 32)
STRANGER: Final = Account.from_key("0x" + "22" * 32)
ROOT: Final = "/api/current"


@pytest.fixture
def engine(databases: Databases) -> Engine:
    engine = databases.open_ledger()
    with write(engine) as connection:
        state = replace(make_state(now_s=now_s()), owner=OWNER.address.lower())
        put_positions(connection, replace(state, token_id=3), state)
        put_cursor(connection, now_s=now_s())
    return engine


async def test_deployment__anybody__chain_and_addresses_of_the_record(
    provider: FakeEndpoint, engine: Engine, tmp_path: Path
) -> None:
    deployment = replace(DEPLOYMENT, chain_id=84532, block_number=17, usdc="0x" + "b4" * 20)
    settings = settings_for(provider, tmp_path, rpc_url="http://127.0.0.1:9")
    async with run_proxy(settings, engine, deployment=deployment) as proxy:
        answer = await proxy.client.get(f"{ROOT}/deployment")

    assert answer.status_code == 200
    assert answer.json() == {
        "chain_id": 84532,
        "contracts": {
            "position": "0x" + "a1" * 20,
            "adapter": "0x" + "a2" * 20,
            "payouts": "0x" + "a3" * 20,
            "usdc": "0x" + "b4" * 20,
            "multicall3": "0x" + "a5" * 20,
        },
        "vault_address": "0x" + "a6" * 20,
        "block_number": 17,
    }


async def test_positions__owner__all_and_only_its_own(
    provider: FakeEndpoint, engine: Engine, tmp_path: Path
) -> None:
    async with run_proxy(settings_for(provider, tmp_path), engine) as proxy:
        found = [
            (await proxy.client.get(f"{ROOT}/positions", params={"owner": owner})).json()
            for owner in (OWNER.address, OWNER.address.lower(), STRANGER.address)
        ]

    listed = [[one["token_id"] for one in answer["positions"]] for answer in found]
    assert listed == [[0, 3], [0, 3], []]


@pytest.mark.parametrize(("lifetime_s", "status"), [(3_600, 200), (None, 401)])
async def test_nonce_lifetime__signed_after_fifty_minutes__is_the_settings_to_decide(
    provider: FakeEndpoint, engine: Engine, tmp_path: Path, lifetime_s: int | None, status: int
) -> None:
    changes = {} if lifetime_s is None else {"nonce_lifetime_s": lifetime_s}
    settings = settings_for(provider, tmp_path, **changes)
    lifetime = settings.nonce_lifetime_s
    sign_in = SignIn(
        settings.key_secrets(), settings.get_domain(), 31337, DEPLOYMENT.position, lifetime
    )
    said = sign_in.describe(0, now_s=now_s() - 3_000)
    at = datetime.now(UTC) - timedelta(seconds=3_000)
    text = said["template"].replace("<address>", OWNER.address).replace("<time>", at.isoformat())
    signature = OWNER.sign_message(encode_defunct(text=text)).signature.to_0x_hex()

    async with run_proxy(settings, engine) as proxy:
        fresh = (await proxy.client.get(f"{ROOT}/keys/nonce", params={"tokenId": "0"})).json()
        assert abs(fresh["expires_at_s"] - now_s() - lifetime) < 60
        wish = {"message": text, "signature": signature}
        answer = await proxy.client.post(f"{ROOT}/keys", json=wish)
    assert answer.status_code == status, answer.text
