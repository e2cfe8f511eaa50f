"""``current doctor``: what runs here, and what else that depends on; see ``test_doctor``."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import start_http_server

from indexer.health import Health
from indexer.metrics import serve_metrics
from keeper.alarms import NAMES, Alarm, Vitals
from keeper.metrics import KeeperMetrics
from keeper.operator_words import ALARM_MENDS
from scripts.doctor.examination import Level
from scripts.saving.backups import Backup
from tests.support.deploy import USDC
from tests.support.wards import Ward

Fault = Callable[[Ward], None]


def change(**settings: str) -> Fault:
    def apply(ward: Ward) -> None:
        ward.environment |= settings

    return apply


def same_ports(ward: Ward) -> None:
    ward.environment["INDEXER_METRICS_PORT"] = ward.environment["KEEPER_METRICS_PORT"]


def public_and_trusting(ward: Ward) -> None:
    ward.environment |= {"PROXY_DOMAIN": "ai.example", "PROXY_TRUSTED_PROXIES": "0.0.0.0/0"}


def no_old_state(ward: Ward) -> None:
    def lie(call: dict[str, Any]) -> dict[str, Any] | None:
        if call["method"] == "eth_getBalance" and call["params"][1] != "latest":
            return {"error": {"code": -32000, "message": "missing trie node"}}
        return None

    ward.node.lie = lie


def backup_without_data(ward: Ward) -> None:
    ward.backups = ward.folder / "backups"
    path = ward.backups / "current-1"
    path.mkdir(parents=True)
    facts = ("sqlite", "ledger.sqlite3", "00", 9, "0056", 31337, "0x", None, 0)
    Backup(path, int(time.time()), *facts).save_manifest()


def key_shared(ward: Ward) -> None:
    ward.stage.open_held()
    usdc = ward.stage.world.contracts.usdc.functions
    ward.stage.world.send("keeper", usdc.approve("0x" + "12" * 20, 1))


def usdc_paused(ward: Ward) -> None:
    ward.stage.world.send("admin", ward.stage.world.contracts.usdc.functions.pause())


def treasury_blacklisted(ward: Ward) -> None:
    contracts = ward.stage.world.contracts
    refuse = contracts.usdc.functions.blacklist(contracts.payouts.address, True)
    ward.stage.world.send("admin", refuse)


def treasury_empty(ward: Ward) -> None:
    ward.stage.owe(("po_1", "0x" + "5e" * 20, 5 * USDC))


FAULTS: dict[str, tuple[Fault, str, Level, str]] = {
    "one port twice": (same_ports, "settings.ports", Level.BAD, "indexer"),
    "anybody is trusted": (public_and_trusting, "settings.limits", Level.BAD, "proxy"),
    "no state": (no_old_state, "rpc.state", Level.BAD, "http"),
    "half a backup": (backup_without_data, "host.backups", Level.BAD, "backups"),
    "key of another program": (key_shared, "keys.shared", Level.ADVICE, "settler"),
    "usdc paused": (usdc_paused, "contracts.usdc", Level.BAD, "usdc"),
    "treasury blacklisted": (treasury_blacklisted, "contracts.usdc", Level.BAD, "usdc"),
    "treasury empty": (treasury_empty, "ledger.treasury", Level.BAD, "treasury"),
    "gas above the bound": (
        change(KEEPER_FEE_WEI_MAX="1", KEEPER_TIP_WEI="0", KEEPER_TIP_WEI_MAX="0"),
        "keys.gas_price",
        Level.BAD,
        "gas",
    ),
    "gas for free": (
        change(KEEPER_ETHER_PRICE_USDC="0"), "keys.gas_price", Level.ADVICE, "gas",
    ),
    "nobody sells": (lambda _: None, "market.offers", Level.ADVICE, "offers"),
    "keeper away": (lambda _: None, "servers.keeper", Level.BAD, "keeper"),
    "indexer away": (lambda _: None, "servers.indexer", Level.BAD, "indexer"),
    "half of nowpayments": (
        change(MARKET_NOWPAYMENTS_API_KEY="key"), "market.nowpayments", Level.BAD, "nowpayments",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_running__one_fault__told(ward: Ward, fault: str) -> None:
    break_it, name, level, subject = FAULTS[fault]
    break_it(ward)

    told = ward.tell(name)

    assert told
    assert all(one[0] is level and one[1].startswith(subject) for one in told)


def test_finality__on_a_chain_of_others__is_waited_for(ward: Ward) -> None:
    ward.environment["INDEXER_CONFIRMATIONS"] = "0"
    assert ward.tell("settings.finality") == []

    ward.use_record(replace(ward.stage.world.deployment, chain_id=8453))

    assert [level for level, _, _ in ward.tell("settings.finality")] == [Level.ADVICE]


@contextmanager
def keeper_metrics(ward: Ward, *alarms: str) -> Iterator[None]:
    metrics = KeeperMetrics()
    vitals = Vitals(mirror_age_s=0, oldest_posted_s=None, posted_usdc=0, debts_usdc={})
    metrics.note_vitals(vitals, [Alarm(name) for name in alarms])
    port = int(ward.environment["KEEPER_METRICS_PORT"])
    server, thread = start_http_server(port, addr="127.0.0.1", registry=metrics.registry)
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def test_keeper__its_alarms__are_told_with_what_to_do(ward: Ward) -> None:
    with keeper_metrics(ward, "balance_low", "kind_stopped"):
        told = [mend for _, _, mend in ward.tell("servers.keeper")]
    with keeper_metrics(ward):
        assert ward.tell("servers.keeper") == []

    assert told == [ALARM_MENDS["balance_low"], ALARM_MENDS["kind_stopped"]]


def test_keeper__every_alarm__has_a_line_that_mends_it() -> None:
    assert set(ALARM_MENDS) == set(NAMES)


def test_indexer__that_runs__is_well(ward: Ward) -> None:
    port = int(ward.environment["INDEXER_METRICS_PORT"])
    close = serve_metrics(Health(), host="127.0.0.1", port=port)
    try:
        assert ward.tell("servers.indexer") == []
    finally:
        close()


@pytest.mark.parametrize(("status", "told"), [(200, []), (403, [Level.BAD])])
def test_nowpayments__account__is_tried(ward: Ward, status: int, told: list[Level]) -> None:
    ward.upstream.answers["/v1/auth"] = (status, {"token": "t"})
    names = ("API_KEY", "EMAIL", "PASSWORD", "TOTP_SECRET", "IPN_SECRET")
    ward.environment |= {f"MARKET_NOWPAYMENTS_{name}": "ABCDEFGHIJKLMNOP" for name in names}
    ward.environment["MARKET_NOWPAYMENTS_URL"] = ward.upstream.url

    assert [level for level, _, _ in ward.tell("market.nowpayments")] == told
