"""``current position …`` and ``current key …``: by command, tried before anything is sent.

::

    open, deposit          one transaction with a permit; an allowance that is there is used
    withdraw, harvest      what is paid is told before and comes
    refused by a contract  a sentence with what to do, exit 1, nothing is sent
    --dry-run              nothing is sent
    the key                from a file, an encrypted keyfile, the environment; none: exit 2
    another chain          exit 2
    key issue, child, revoke   at a real proxy, by EIP-4361
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from eth_account import Account
from sqlalchemy import select

from ledger.database.engine import read
from ledger.tables import ChildKey, table_of
from scripts.cli import commands
from tests.support import proxy as proxies
from tests.support.deploy import USDC, World
from tests.support.keepers import Stage, write_record


class Owner:
    """Runs commands as the owner of a position would."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.account = world.accounts["owner"]
        self.folder = folder
        self.record = write_record(world.deployment, folder)
        self.key_file = folder / "key"
        self.key_file.write_text(self.account.key.hex())

    def run(self, *words: str, key: bool = True, **environment: str) -> Result:
        chain = ["--rpc-url", self.world.anvil.url, "--deployment-file", str(self.record)]
        given = [*words, *chain, *(["--private-key-file", str(self.key_file)] if key else [])]
        return CliRunner(mix_stderr=False).invoke(commands, given, env=environment)

    def do(self, *words: str, **options: Any) -> dict[str, Any]:
        done = self.run(*words, "--json", **options)
        assert done.exit_code == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def nonce(self) -> int:
        return self.world.anvil.web3.eth.get_transaction_count(self.account.address)

    def usdc(self) -> int:
        functions = self.world.contracts.usdc.functions
        return int(functions.balanceOf(self.account.address).call())

    def principal(self, token_id: int) -> int:
        functions = self.world.contracts.adapter.functions
        return int(functions.positionOf(token_id).call()[1])


@pytest.fixture
def owner(world: World, tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(world, tmp_path)
    world.fund_usdc(owner.account.address, 1_000 * USDC)
    yield owner


def test_open__with_a_permit__is_one_transaction(owner: Owner) -> None:
    before = owner.nonce()

    opened = owner.do("position", "open", "250.5")

    assert owner.nonce() == before + 1
    assert opened["token_id"] == 0
    assert owner.principal(0) == 250_500_000
    assert owner.usdc() == 1_000 * USDC - 250_500_000
    receipt = owner.world.anvil.web3.eth.get_transaction_receipt(opened["tx_hash"])
    assert receipt["blockNumber"] == opened["block_number"]
    assert opened["fee_wei"] == receipt["gasUsed"] * receipt["effectiveGasPrice"]


def test_deposit__with_an_allowance_that_is_there__uses_it(owner: Owner) -> None:
    token_id = owner.do("position", "open", "100")["token_id"]
    usdc, adapter = owner.world.contracts.usdc, owner.world.contracts.adapter
    owner.world.send("owner", usdc.functions.approve(adapter.address, 50 * USDC))

    owner.do("position", "deposit", str(token_id), "50")

    assert owner.principal(token_id) == 150 * USDC
    assert usdc.functions.allowance(owner.account.address, adapter.address).call() == 0


def test_withdraw__a_part_then_all__pays_what_was_told(owner: Owner) -> None:
    owner.do("position", "open", "100")
    before = owner.usdc()

    part = owner.do("position", "withdraw", "0", "40")
    rest = owner.do("position", "withdraw", "0")

    assert (part["expected_usdc"], rest["expected_usdc"]) == (40 * USDC, 60 * USDC)
    assert owner.usdc() == before + 100 * USDC
    assert owner.principal(0) == 0


def test_harvest_and_yield__come_as_credit_and_are_cashed_out(owner: Owner) -> None:
    owner.do("position", "open", "100")
    owner.world.earn(5 * USDC)
    owner.world.anvil.warp(1_800)

    harvested = owner.do("position", "harvest", "0")
    shown = owner.do("position", "status", "0", key=False)
    before = owner.usdc()
    cashed = owner.do("position", "withdraw", "0", "--yield")

    account = owner.world.contracts.position.functions.accountOf(0).call()
    assert harvested["expected_usdc"] == account[0] > 0
    assert shown["credited_usdc"] == shown["withdrawable_usdc"] == harvested["expected_usdc"]
    assert owner.usdc() - before == cashed["expected_usdc"] == shown["withdrawable_usdc"]


def test_release__is_logged_for_the_keeper(owner: Owner) -> None:
    owner.do("position", "open", "100")

    released = owner.do("position", "release", "0")

    logs = owner.world.contracts.position.events.ReleaseRequested.get_logs(
        from_block=released["block_number"]
    )
    assert [log["args"]["tokenId"] for log in logs] == [0]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("position", "withdraw", "0"), "adapter: not owner"),
        (("position", "withdraw", "0", "--yield"), "position: not owner"),
        (("position", "deposit", "7", "1"), "adapter: unknown position"),
        (("key", "revoke", "--token-id", "0"), "position: not owner"),
    ],
)
def test_refused__by_the_contract__costs_nothing_and_says_why(
    owner: Owner, words: tuple[str, ...], reason: str
) -> None:
    owner.do("position", "open", "100")
    owner.key_file.write_text(owner.world.accounts["outsider"].key.hex())
    owner.account = owner.world.accounts["outsider"]
    before = owner.nonce()

    refused = owner.run(*words)

    assert refused.exit_code == 1
    assert f"{reason}: " in refused.stderr
    assert owner.nonce() == before


def test_withdraw__less_than_the_least__is_refused_before_it_is_sent(owner: Owner) -> None:
    owner.do("position", "open", "100")
    before = owner.nonce()

    refused = owner.run("position", "withdraw", "0", "40", "--at-least", "41")

    assert (refused.exit_code, owner.nonce()) == (1, before)
    assert "adapter: too little paid" in refused.stderr


def test_dry_run__tries_and_sends_nothing(owner: Owner) -> None:
    before = owner.nonce()

    tried = owner.do("position", "open", "100", "--dry-run")
    poor = owner.run("position", "open", "1000000", "--dry-run")

    assert tried == {"token_id": 0, "dry_run": True}
    assert poor.exit_code == 1
    assert owner.nonce() == before


def test_key__from_keyfile_or_environment__is_the_same_wallet(owner: Owner) -> None:
    keyfile, password = owner.folder / "keyfile.json", owner.folder / "password"
    sealed = Account.encrypt(owner.account.key, "open sesame", kdf="pbkdf2", iterations=2)
    keyfile.write_text(json.dumps(sealed))
    password.write_text("open sesame\n")

    words = ("--keyfile", str(keyfile), "--password-file", str(password))
    owner.do("position", "open", "10", *words, key=False)
    owner.do(
        "position", "deposit", "0", "5", key=False, CURRENT_PRIVATE_KEY=owner.account.key.hex()
    )

    assert owner.principal(0) == 15 * USDC


@pytest.mark.parametrize("content", [None, "", "nonsense", "0x12"])
def test_key__none_or_no_key__exit_2_and_nothing_of_it_is_shown(
    owner: Owner, content: str | None
) -> None:
    if content is not None:
        owner.key_file.write_text(content)

    ended = owner.run("position", "release", "0", key=content is not None)

    assert ended.exit_code == 2
    assert ended.stderr.startswith("Error: ")
    assert not content or content not in ended.stderr


def test_chain__of_another_id__exit_2_before_anything_is_signed(owner: Owner) -> None:
    told = json.loads(owner.record.read_text())
    owner.record.write_text(json.dumps({**told, "chain_id": 1}))

    ended = owner.run("position", "open", "10")

    assert ended.exit_code == 2
    assert "the node serves chain 31337" in ended.stderr


async def test_keys__issued_by_sign_in_divided_and_ended(stage: Stage, tmp_path: Path) -> None:
    token_id = await asyncio.to_thread(stage.open_held)
    owner = Owner(stage.world, tmp_path)
    settings = proxies.make_settings(
        rpc_url=stage.world.anvil.url, legacy_key_message=False, max_staleness_s=3_600
    )

    async def run(*words: str, **environment: str) -> dict[str, Any]:
        given = [*words, "--api-url", api_url, "--json"]
        invoke = CliRunner(mix_stderr=False).invoke
        done = await asyncio.to_thread(invoke, commands, given, env=environment)
        assert done.exit_code == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    async with proxies.run_proxy(
        settings, stage.engine, deployment=stage.world.deployment
    ) as proxy:
        api_url = f"{str(proxy.client.base_url).rstrip('/')}/api/current"
        key = ("--private-key-file", str(owner.key_file), "--token-id", str(token_id))
        issued = await run("key", "issue", *key)
        root = {"CURRENT_API_KEY": issued["apiKey"]}
        made = await run("key", "child", "--label", "ci", "--day-max", "0.5", **root)
        asked = await proxy.client.get(
            "/api/current/keys/self", headers={"authorization": f"Bearer {made['apiKey']}"}
        )
        ended = await run("key", "revoke", "--child", made["keyId"], **root)
        refused = await proxy.client.get(
            "/api/current/keys/self", headers={"authorization": f"Bearer {made['apiKey']}"}
        )

    assert issued["tokenId"] == str(token_id)
    assert asked.json()["child"]["day_usdc_max"] == 500_000
    assert ended["keyId"] == made["keyId"]
    assert refused.status_code == 401
    with read(stage.engine) as connection:
        rows = connection.execute(select(table_of(ChildKey).c.revoked_at_s)).scalars().all()
    assert None not in rows


def test_revoke__all_keys__raises_the_epoch_on_chain(owner: Owner) -> None:
    owner.do("position", "open", "100")

    revoked = owner.do("key", "revoke", "--token-id", "0")

    assert revoked["key_epoch"] == 1
    assert owner.world.contracts.position.functions.keyEpoch(0).call() == 1
