"""``current doctor`` on a real deployment with one thing wrong at a time.

::

    nothing wrong                       nothing bad is told, exit 0
    one deliberate fault                the check of that thing tells it, with a line that mends it
    ├── settings, nodes, contracts      a lying node before anvil, a changed record
    ├── keys                            rights taken on chain, balances, KMS files
    ├── ledger                          SQLite and PostgreSQL: schema, binding, pooler, durability
    ├── host                            modes, backups
    └── services                        upstream, prices, credit, mail, alarms
    any environment                     no check raises, whatever is missing
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_utils.address import to_checksum_address
from sqlalchemy import text

from ledger.database.engine import write
from scripts.doctor.examination import Level, Reported
from tests.support.wards import Ward


def bad_of(found: list[Reported]) -> dict[str, str]:
    # The servers themselves do not run here, and this machine's disk is its own affair.
    return {
        one.check: one.finding.says
        for one in found
        if one.finding.level is Level.BAD and not one.check.startswith(("servers.", "host.disk"))
    }


def test_examine__nothing_wrong__tells_nothing_bad(ward: Ward) -> None:
    found = ward.examine()

    assert bad_of(found) == {}
    assert len({one.check for one in found}) > 20
    assert not [one for one in found if "the check itself failed" in one.finding.says]


def test_examine__each_finding_that_is_not_good__has_a_line_that_mends(ward: Ward) -> None:
    ward.node.lie = lambda _: {"error": {"code": -32000, "message": "out of order"}}
    ward.upstream.answers.clear()

    found = ward.examine()

    assert bad_of(found)
    assert all(one.finding.mend for one in found if one.finding.level is not Level.GOOD)


@pytest.mark.parametrize("lacking", ["RPC_URL", "LEDGER_URL", "DEPLOYMENT_FILE", "_"])
def test_examine__settings_missing_or_nonsense__no_check_fails_itself(
    ward: Ward, lacking: str
) -> None:
    for name in list(ward.environment):
        if lacking in name:
            ward.environment[name] = "nonsense"

    found = ward.examine()

    assert not [one for one in found if "the check itself failed" in one.finding.says]
    assert any(one.check == "settings.read" for one in found)


# ---------------------------------------------------------------------------------------- settings


def change(name: str, value: str) -> Callable[[Ward], None]:
    def apply(ward: Ward) -> None:
        ward.environment[name] = value

    return apply


def remove(name: str) -> Callable[[Ward], None]:
    def apply(ward: Ward) -> None:
        del ward.environment[name]

    return apply


SETTINGS = {
    "a typo": (change("PROXY_UPSTREM_KEY", "x"), "settings.read", "proxy"),
    "a missing secret": (remove("MARKET_KMS"), "settings.read", "market"),
    "another ledger": (change("KEEPER_LEDGER_URL", "sqlite:////x"), "settings.agree", "ledger"),
    "holds too short": (change("KEEPER_HOLD_RENEW_BEFORE_S", "900"), "settings.holds", "holds"),
    "no key": (remove("KEEPER_PRIVATE_KEY_FILE"), "settings.key", "keeper"),
    "public, no proxies": (change("PROXY_DOMAIN", "ai.example"), "settings.limits", "proxy"),
    "no tls": (change("MARKET_PUBLIC_URL", "http://m.example"), "settings.domain", "market"),
    "no metrics": (change("KEEPER_METRICS_PORT", "0"), "alarms.received", "keeper"),
    "no token": (remove("PROXY_METRICS_TOKEN"), "alarms.received", "proxy"),
    "same secret": (change("MARKET_SECRET", "11aa22bb33cc44dd" * 4), "secrets.strength", "MARKET"),
}


@pytest.mark.parametrize("fault", SETTINGS)
def test_settings__one_fault__told_with_its_mend(ward: Ward, fault: str) -> None:
    break_it, name, subject = SETTINGS[fault]
    if fault == "same secret":
        del ward.environment["MARKET_SECRET_FILE"]
    break_it(ward)

    assert any(
        level is Level.BAD and told.startswith(subject) for level, told, _ in ward.tell(name)
    )


# ------------------------------------------------------------------------------------------- nodes


def other_chain(ward: Ward) -> None:
    ward.node.lie = lambda call: {"result": "0x1"} if call["method"] == "eth_chainId" else None


def stands_still(ward: Ward) -> None:
    ward.now_s = time.time() + 3_600


def behind_the_chain(ward: Ward) -> None:
    ward.now_s = time.time() - 3_600


def pruned(ward: Ward) -> None:
    ward.node.lie = lambda call: {"result": []} if call["method"] == "eth_getLogs" else None


def lags(ward: Ward) -> None:
    old = ward.stage.world.deployment.block_number
    ward.stage.world.anvil.mine(10)

    def lie(call: dict[str, Any]) -> dict[str, Any] | None:
        if call["method"] == "eth_getBlockByNumber" and call["params"][0] == "latest":
            return {"result": ward.node.ask({**call, "params": [hex(old), False]})["result"]}
        return None

    ward.node.lie = lie
    ward.environment["KEEPER_RPC_URL"] = f"{ward.node.url} {ward.stage.world.anvil.url}"


NODES = {
    "another chain": (other_chain, "rpc.chain", Level.BAD),
    "old head": (stands_still, "rpc.lag", Level.BAD),
    "clock behind": (behind_the_chain, "rpc.lag", Level.BAD),
    "lags behind another": (lags, "rpc.lag", Level.BAD),
    "no history": (pruned, "rpc.archive", Level.BAD),
}


@pytest.mark.parametrize("fault", NODES)
def test_node__one_fault__told(ward: Ward, fault: str) -> None:
    break_it, name, level = NODES[fault]
    break_it(ward)

    assert [told for told, _, _ in ward.tell(name)] == [level]


def test_node__ranges_and_batches_refused__advice(ward: Ward) -> None:
    ward.stage.world.anvil.mine(20)
    ward.environment["INDEXER_RANGE_BLOCKS_MAX"] = "20"

    def lie(call: dict[str, Any]) -> dict[str, Any] | None:
        if call["method"] == "eth_getLogs":
            return {"error": {"code": -32005, "message": "query returned more than 10 blocks"}}
        return None

    ward.node.lie = lie

    assert (Level.ADVICE, "INDEXER_RANGE_BLOCKS_MAX=2, or another endpoint") in [
        (level, mend) for level, _, mend in ward.tell("rpc.limits")
    ]


def test_node__heads_that_are_not_a_websocket__told(ward: Ward) -> None:
    ward.environment["INDEXER_HEADS_URL"] = ward.node.url.replace("http", "ws")
    assert [level for level, _, _ in ward.tell("rpc.heads")] == [Level.BAD]

    ward.environment["INDEXER_HEADS_URL"] = ward.stage.world.anvil.url.replace("http", "ws")
    assert ward.tell("rpc.heads") == []


# ------------------------------------------------------------------------------ contracts and keys


def test_contracts__addresses_swapped__code_and_wiring_are_told(ward: Ward) -> None:
    record = ward.stage.world.deployment
    ward.use_record(replace(record, position=record.payouts, payouts=record.position))

    assert {told for _, told, _ in ward.tell("contracts.code")} == {"position", "payouts"}
    assert ward.tell("contracts.wiring")


def test_contracts__no_code__told(ward: Ward) -> None:
    ward.use_record(replace(ward.stage.world.deployment, multicall3="0x" + "12" * 20))

    assert [told for _, told, _ in ward.tell("contracts.code")] == ["multicall3"]


def test_contracts__keeper_is_the_admin__told(ward: Ward) -> None:
    admin = ward.stage.world.accounts["admin"]
    ward.write("settler", admin.key.hex())

    assert {told for _, told, _ in ward.tell("contracts.admin")} == {"position", "payouts"}


def test_keys__right_taken__told_with_the_call_that_gives_it(ward: Ward) -> None:
    world = ward.stage.world
    keeper = world.accounts["keeper"].address
    world.send("admin", world.contracts.position.functions.setSettler(keeper, False))
    world.send("admin", world.contracts.payouts.functions.setPayer(keeper, False))

    mends = [mend for _, _, mend in ward.tell("keys.rights")]
    assert [("setSettler" in mend, "setPayer" in mend) for mend in mends] == [
        (True, False),
        (False, True),
    ]
    assert all(keeper in mend for mend in mends)


def test_keys__payments_key_that_may_settle_and_has_nothing__told(ward: Ward) -> None:
    world = ward.stage.world
    other = world.accounts["outsider"]
    world.anvil.fund(other.address, 0)
    world.send("admin", world.contracts.position.functions.setSettler(other.address, True))
    ward.environment["KEEPER_PAYMENTS_PRIVATE_KEY"] = other.key.hex()

    told = ward.tell("keys.rights")
    assert [subject for _, subject, _ in told] == ["payments", "payments"]
    assert told[1][2].endswith(f"{to_checksum_address(other.address)} false")
    assert ward.tell("keys.balance") == [
        (Level.BAD, "payments", f"send ether to {to_checksum_address(other.address)}")
    ]


@pytest.mark.parametrize("content", ["", "first short", "0x" + "00" * 32])
def test_keys__key_file_that_holds_none__told(ward: Ward, content: str) -> None:
    ward.write("settler", content)

    # An empty file gives none: the keeper has no key then.
    assert ward.tell("settings.read" if content else "settings.key")


def test_kms__open_to_others__told(ward: Ward) -> None:
    (ward.folder / "kms").chmod(0o644)

    assert [level for level, _, _ in ward.tell("keys.kms")] == [Level.BAD]
    assert [mend for _, _, mend in ward.tell("host.modes")] == [f"chmod 600 {ward.folder / 'kms'}"]


def test_kms__key_that_something_is_wrapped_by_is_gone__told(ward: Ward) -> None:
    with write(ward.stage.engine) as connection:
        connection.execute(
            text(
                "INSERT INTO market_account (account_id, kind, credited_usdc, spent_usdc,"
                " reserved_usdc, created_at_s) VALUES ('ac_1', 'prepaid', 0, 0, 0, 1)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO market_own_provider (provider_id, account_id, label, base_url, models,"
                " position, status, version, created_at_s, changed_at_s)"
                " VALUES ('pr_1', 'ac_1', 'mine', 'https://p.test', '{}', 'priority', 'active', 3,"
                " 1, 2)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO market_own_provider_key (provider_id, ciphertext, wrapped_key,"
                " kms_key_id) VALUES ('pr_1', x'00', x'00', 'retired')"
            )
        )

    assert [("retired" in mend) for _, _, mend in ward.tell("keys.kms")] == [True]
