"""Webhooks over HTTP: set, told, tried again, replayed; to endpoints that do as they like.

::

    told ── a harvest, low allowance, the day's cap, revoked keys: once, signed, in order
    tried ── again after failures, in order; cut where slow, followed nowhere, ended by 410
    addresses ── private ones are refused when set, and when a name leads there later
    secrets ── sealed; rotated with both signing; replayed with the same id
    refused ── child keys, nonsense, another position's webhook
    two processes ── deliver each thing once

Who has the next turn, and what ends with a key: ``test_webhooks_shared``.
"""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select, update

from ledger.database.engine import read, write
from ledger.tables import Position, Webhook, table_of
from proxy.webhooks.delivering import Webhooks
from proxy.webhooks.signing import read_secret, sign
from serving.models.dialing import Dialer, DialRules
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import (
    KEY_SECRET,
    RunningProxy,
    make_key,
    now_s,
    run_proxy,
    settings_for,
)
from tests.support.waiting import LIMIT_S, until

ROOT = "/api/current"
HEADERS = {"authorization": f"Bearer {make_key()}"}


class Receiver:
    """An owner's endpoint. ``answers`` are its next statuses, then 200."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.wait_s = 0.0
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self.url = ""

    async def __aenter__(self) -> "Receiver":
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook?of=mine"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((headers, body))
        await asyncio.sleep(self.wait_s)
        status = self.answers.pop(0) if self.answers else 200
        leads = {"location": "http://127.0.0.1:9/"} if status in (301, 307) else {}
        return web.Response(status=status, headers=leads, text="x" * 100_000)

    @property
    def types(self) -> list[str]:
        """The kinds of what came, in order."""
        return [json.loads(body)["type"] for _, body in self.got]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def proxy(provider: FakeEndpoint, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    """A proxy whose own look is turned off: the tests look when it is time."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()), make_state(1, now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    settings = settings_for(provider, tmp_path, webhooks=False, webhooks_loopback=True)
    async with run_proxy(settings, engine) as running:
        yield running
    engine.dispose()


@pytest.fixture
async def hooks(proxy: RunningProxy) -> AsyncIterator[Webhooks]:
    """What looks and delivers, without the pauses."""
    hooks = make_hooks(proxy)
    yield hooks
    await hooks.close()


def make_hooks(
    proxy: RunningProxy,
    *,
    resolve: Any = None,
    loopback: bool = True,
    pauses: int = 3,
    timeout_s: float = LIMIT_S,
    swift_s: float = LIMIT_S,
) -> Webhooks:
    rules = DialRules(allow_loopback=loopback, read_timeout_s=timeout_s)
    extra = {} if resolve is None else {"resolve": resolve}
    return Webhooks(
        proxy.front.app.state.services.meter,
        lambda: Dialer(rules, **extra),
        (KEY_SECRET.encode(),),
        pauses_s=(0,) * pauses,
        timeout_s=timeout_s,
        swift_s=swift_s,
    )


async def work(hooks: Webhooks) -> None:
    """Look once, and deliver what is due."""
    await hooks.look()
    await hooks.deliver()


async def make_webhook(proxy: RunningProxy, url: str, **changes: Any) -> dict[str, Any]:
    body = {"url": url, "low_usdc": 100_000, **changes}
    made = await proxy.client.post(f"{ROOT}/webhooks", json=body, headers=HEADERS)
    assert made.status_code == 201, made.text
    told: dict[str, Any] = made.json()
    return told


async def ping(proxy: RunningProxy, webhook_id: str) -> int:
    answer = await proxy.client.post(f"{ROOT}/webhooks/{webhook_id}/ping", headers=HEADERS)
    assert answer.status_code == 202
    number: int = answer.json()["number"]
    return number


async def list_states(proxy: RunningProxy, webhook_id: str) -> list[tuple[int, str, str | None]]:
    path = f"{ROOT}/webhooks/{webhook_id}/deliveries"
    listed = (await proxy.client.get(path, headers=HEADERS)).json()["data"]
    return [(one["number"], one["state"], one["said"]) for one in reversed(listed)]


def change_position(proxy: RunningProxy, **values: Any) -> None:
    position = table_of(Position)
    with write(proxy.engine) as connection:
        connection.execute(update(position).where(position.c.token_id == 0).values(**values))


def is_signed(got: tuple[dict[str, str], bytes], secret: str) -> bool:
    headers, body = got
    expected = sign(
        [read_secret(secret)],
        message_id=headers["webhook-id"],
        timestamp_s=int(headers["webhook-timestamp"]),
        body=body,
    )["webhook-signature"]
    return expected in headers["webhook-signature"].split()


# ------------------------------------------------------------------------------------------ told


async def test_changes__of_a_position__are_told_once_signed_and_in_order(
    proxy: RunningProxy, hooks: Webhooks, receiver: Receiver
) -> None:
    made = await make_webhook(proxy, receiver.url)
    await work(hooks)
    assert receiver.got == []

    child = await proxy.client.post(f"{ROOT}/keys/children", json={}, headers=HEADERS)
    key_id = child.json()["keyId"]
    await proxy.client.delete(f"{ROOT}/keys/children/{key_id}", headers=HEADERS)
    change_position(proxy, credited_usdc=1_250_000, spent_usdc=1_200_000)
    for _ in range(2):
        await work(hooks)

    assert receiver.types == [
        "position.harvested",
        "key.revoked",
        "allowance.low",
    ]
    assert all(is_signed(got, made["secret"]) for got in receiver.got)
    harvest, revoked, low = (json.loads(body) for _, body in receiver.got)
    assert harvest["data"]["credited_usdc"] == 250_000
    assert revoked["data"]["keys"] == [key_id]
    assert low["data"]["low_usdc"] == 100_000
    assert harvest["token_id"] == "0"
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 3


async def test_events__that_are_not_wanted__are_not_told(
    proxy: RunningProxy, hooks: Webhooks, receiver: Receiver
) -> None:
    await make_webhook(proxy, receiver.url, events=["allowance.low"])
    change_position(proxy, credited_usdc=1_250_000)
    await work(hooks)
    assert receiver.got == []


async def test_proxy__by_itself__looks_and_delivers(
    provider: FakeEndpoint, receiver: Receiver, tmp_path: Path, proxy: RunningProxy
) -> None:
    settings = settings_for(provider, tmp_path, webhooks_loopback=True)
    async with run_proxy(settings, proxy.engine) as other:
        made = await make_webhook(other, receiver.url)
        await ping(other, made["webhookId"])
        await until(lambda: receiver.got, "the ping is delivered")
    assert receiver.types == ["ping"]


# ----------------------------------------------------------------------------------------- tried


async def test_endpoint__fails__the_same_is_tried_again_before_the_next(
    proxy: RunningProxy, hooks: Webhooks, receiver: Receiver
) -> None:
    webhook_id = (await make_webhook(proxy, receiver.url))["webhookId"]
    receiver.answers = [500, 307, 429]
    for _ in range(2):
        await ping(proxy, webhook_id)
    await work(hooks)

    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert ids[0] == ids[1] == ids[2] == ids[3] != ids[4]
    assert await list_states(proxy, webhook_id) == [
        (0, "delivered", "200"),
        (1, "delivered", "200"),
    ]


async def test_endpoint__fails_for_good__given_up_and_the_next_is_told(
    proxy: RunningProxy, hooks: Webhooks, receiver: Receiver
) -> None:
    webhook_id = (await make_webhook(proxy, receiver.url))["webhookId"]
    receiver.answers = [500] * 4
    for _ in range(2):
        await ping(proxy, webhook_id)
    await work(hooks)
    assert await list_states(proxy, webhook_id) == [(0, "failed", "500"), (1, "delivered", "200")]


async def test_endpoint__slow__is_cut_and_holds_up_nobody(
    proxy: RunningProxy, receiver: Receiver
) -> None:
    async with Receiver() as slow:
        slow.wait_s = 3_600
        slow_id = (await make_webhook(proxy, slow.url))["webhookId"]
        quick_id = (await make_webhook(proxy, receiver.url))["webhookId"]
        for webhook_id in (slow_id, quick_id):
            await ping(proxy, webhook_id)
        hooks = make_hooks(proxy, pauses=0, timeout_s=3.0)
        await asyncio.wait_for(hooks.deliver(), LIMIT_S)
        await hooks.close()
        [(_, state, said)] = await list_states(proxy, slow_id)
        assert (state, said) == ("failed", "timeout")
        assert await list_states(proxy, quick_id) == [(0, "delivered", "200")]


async def test_endpoint__redirects__is_not_followed(
    proxy: RunningProxy, receiver: Receiver
) -> None:
    webhook_id = (await make_webhook(proxy, receiver.url))["webhookId"]
    receiver.answers = [301]
    await ping(proxy, webhook_id)
    hooks = make_hooks(proxy, pauses=0)
    await work(hooks)
    await hooks.close()
    assert await list_states(proxy, webhook_id) == [(0, "failed", "301")]
    assert len(receiver.got) == 1


async def test_endpoint__gone__is_told_nothing_more(
    proxy: RunningProxy, hooks: Webhooks, receiver: Receiver
) -> None:
    webhook_id = (await make_webhook(proxy, receiver.url))["webhookId"]
    receiver.answers = [410]
    for _ in range(2):
        await ping(proxy, webhook_id)
    await work(hooks)
    assert len(receiver.got) == 1
    assert (await proxy.client.get(f"{ROOT}/webhooks", headers=HEADERS)).json()["data"] == []


# ------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/hook",
        "https://[fd00::1]/hook",
        "http://hooks.example/plain",
        "https://user:secret@hooks.example/",
        "https://0x7f000001/",
        "ftp://hooks.example/",
        "https://hooks.xn--a/",
        "hooks.example",
        "",
    ],
)
async def test_url__that_must_not_be_called__refused_when_set(
    proxy: RunningProxy, url: str
) -> None:
    answer = await proxy.client.post(f"{ROOT}/webhooks", json={"url": url}, headers=HEADERS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "url_refused")


async def test_name__that_leads_inside_later__is_not_called(
    proxy: RunningProxy, receiver: Receiver
) -> None:
    made = await make_webhook(proxy, receiver.url)
    hook = table_of(Webhook)
    with write(proxy.engine) as connection:
        connection.execute(update(hook).values(url="https://rebound.example/hook"))

    async def resolve(_: str, __: int) -> Sequence[str]:
        return ["127.0.0.1"]

    hooks = make_hooks(proxy, resolve=resolve, loopback=False, pauses=0)
    await ping(proxy, made["webhookId"])
    await work(hooks)
    await hooks.close()
    [(_, state, said)] = await list_states(proxy, made["webhookId"])
    assert state == "failed"
    assert said is not None
    assert said.startswith("refused: the URL's host is not on the public internet")
    assert receiver.got == []


# ------------------------------------------------------------------------------ secrets, replays


async def test_secret__rotated__both_sign_for_the_grace(
    proxy: RunningProxy, hooks: Webhooks, receiver: Receiver
) -> None:
    made = await make_webhook(proxy, receiver.url)
    path = f"{ROOT}/webhooks/{made['webhookId']}/rotate"
    rotated = (await proxy.client.post(path, json={"grace_s": 60}, headers=HEADERS)).json()
    await ping(proxy, made["webhookId"])
    await work(hooks)
    again = (await proxy.client.post(path, json={"grace_s": 0}, headers=HEADERS)).json()
    await ping(proxy, made["webhookId"])
    await work(hooks)

    first, second = receiver.got
    assert is_signed(first, made["secret"])
    assert is_signed(first, rotated["secret"])
    assert is_signed(second, again["secret"])
    assert not is_signed(second, rotated["secret"])
    with read(proxy.engine) as connection:
        rows = connection.execute(select(table_of(Webhook))).all()
    for secret in (made["secret"], again["secret"]):
        raw = b64decode(secret.removeprefix("whsec_"))
        assert secret not in str(rows)
        assert all(raw not in value for row in rows for value in row if isinstance(value, bytes))


async def test_replay__the_same_id_after_all_that_waits(
    proxy: RunningProxy, hooks: Webhooks, receiver: Receiver
) -> None:
    webhook_id = (await make_webhook(proxy, receiver.url))["webhookId"]
    first = await ping(proxy, webhook_id)
    await work(hooks)
    await ping(proxy, webhook_id)
    path = f"{ROOT}/webhooks/{webhook_id}/deliveries/{first}/replay"
    replayed = await proxy.client.post(path, headers=HEADERS)
    await work(hooks)

    assert replayed.json() == {"number": 2}
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert ids[2] == ids[0] != ids[1]
    assert receiver.got[2][1] == receiver.got[0][1]
    missing = path.replace(f"/{first}/", "/77/")
    assert (await proxy.client.post(missing, headers=HEADERS)).status_code == 404


# --------------------------------------------------------------------------------------- refused


async def test_webhooks__of_others__cannot_be_seen_or_changed(
    proxy: RunningProxy, receiver: Receiver
) -> None:
    webhook_id = (await make_webhook(proxy, receiver.url))["webhookId"]
    child = await proxy.client.post(f"{ROOT}/keys/children", json={}, headers=HEADERS)
    strangers = {"authorization": f"Bearer {make_key(1)}"}
    children = {"authorization": f"Bearer {child.json()['apiKey']}"}
    at = f"{ROOT}/webhooks/{webhook_id}"
    for headers, status in ((strangers, 404), (children, 403), ({}, 401)):
        assert (await proxy.client.delete(at, headers=headers)).status_code == status
        for path in ("rotate", "ping", "deliveries/0/replay"):
            answer = await proxy.client.post(f"{at}/{path}", headers=headers)
            assert answer.status_code == status, path
        answer = await proxy.client.get(f"{at}/deliveries", headers=headers)
        assert answer.status_code == status
    assert (await proxy.client.delete(at, headers=HEADERS)).status_code == 204
    assert (await proxy.client.delete(at, headers=HEADERS)).status_code == 404


async def test_wish__nonsense__refused_by_name(proxy: RunningProxy, receiver: Receiver) -> None:
    good = {"url": receiver.url}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "url"),
        ({"url": 3}, "url"),
        ({"url": "https://" + "a" * 2_000}, "url"),
        ({**good, "events": []}, "events"),
        ({**good, "events": ["everything"]}, "events.0"),
        ({**good, "low_usdc": -1}, "low_usdc"),
        ({**good, "low_usdc": "1"}, "low_usdc"),
        ({**good, "secret": "mine"}, "secret"),
    ]
    for body, param in wrong:
        answer = await proxy.client.post(f"{ROOT}/webhooks", json=body, headers=HEADERS)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    for _ in range(10):
        await make_webhook(proxy, receiver.url)
    full = await proxy.client.post(f"{ROOT}/webhooks", json=good, headers=HEADERS)
    assert full.json()["error"]["code"] == "too_many_webhooks"


# --------------------------------------------------------------------------------- two processes


async def test_two_processes__look_and_deliver_at_once__each_thing_is_told_once(
    proxy: RunningProxy, hooks: Webhooks, receiver: Receiver
) -> None:
    await make_webhook(proxy, receiver.url)
    other = make_hooks(proxy)
    receiver.wait_s = 0.05
    change_position(proxy, credited_usdc=1_250_000, spent_usdc=1_200_000)
    for _ in range(2):
        await asyncio.gather(work(hooks), work(other), work(hooks))
    await work(hooks)
    await other.close()
    assert receiver.types == ["position.harvested", "allowance.low"]
