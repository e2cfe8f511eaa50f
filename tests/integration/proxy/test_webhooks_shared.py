"""Webhooks of many owners on one server: whose turn it is, how much waits, and when they end.

::

    turns ── a backlog of one position, or of many, comes before nobody's first; slow endpoints of
        any number of positions leave places to swift ones
    full ── pings are refused while there is still room for news; so many within a minute, and so
        many endpoints within an hour, are refused too
    kept ── what was told is bounded, and what ended is forgotten
    ended ── with the key that set it, and by a restore
    broken ── what cannot be called is a try like another
"""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import Engine, select, update

from ledger.database.engine import read, write
from ledger.restored import end_all_keys
from ledger.spending.webhooks import (
    ASKED_A_MINUTE_MAX,
    ASKED_MAX,
    AT_ONCE_MAX,
    DELIVERIES_MAX,
    ENDED_KEPT_S,
    KEPT_MAX,
    SET_AN_HOUR_MAX,
    SWIFT_MS,
    Message,
    TooManyDeliveries,
    TooManyWebhooks,
    ask,
    change_webhook,
    claim_due,
    create_webhook,
    end_webhook,
    forget_deliveries,
    load_deliveries,
    note_try,
    replay,
    tell,
)
from ledger.tables import Webhook, table_of
from proxy.webhooks.delivering import AT_ONCE, Webhooks
from proxy.webhooks.signing import seal_secret
from tests.integration.proxy.test_webhooks import (
    HEADERS,
    ROOT,
    Receiver,
    change_position,
    hooks,
    list_states,
    make_hooks,
    make_webhook,
    ping,
    proxy,
    receiver,
    work,
)
from tests.support.ledgers import Databases
from tests.support.proxy import KEY_SECRET, RunningProxy
from tests.support.waiting import until

__all__ = ["hooks", "proxy", "receiver"]


def put_webhook(
    engine: Engine,
    webhook_id: str,
    token_id: int,
    *,
    waiting: int,
    url: str = "https://hooks.example/",
    answer_ms: int | None = None,
    created_at_s: int = 0,
) -> None:
    secret = seal_secret(b"s" * 32, key_secrets=(KEY_SECRET.encode(),), webhook_id=webhook_id)
    values: dict[str, Any] = {
        "webhook_id": webhook_id,
        "token_id": token_id,
        "key_epoch": 0,
        "url": url,
        "events": "[]",
        "low_usdc": 0,
        "secret": secret,
        "answer_ms": answer_ms,
        "seen": "{}",
        "next_number": 0,
        "busy_until_s": 0,
        "created_at_s": created_at_s,
    }
    messages = [Message(f"m{number}", "ping", "{}") for number in range(waiting)]
    with write(engine) as connection:
        create_webhook(connection, values)
        tell(connection, webhook_id, messages, now_s=token_id)


def claim(engine: Engine, *, now_s: int, most: int = 4, ends: bool = True) -> list[str]:
    """Return whose deliveries are claimed; ``ends``: they are tried, and fail, at once."""
    with write(engine) as connection:
        taken = claim_due(connection, now_s=now_s, lasting_s=60, most=most)
        for _, delivery in taken if ends else ():
            note_try(
                connection,
                delivery,
                said="500",
                state="failed",
                now_s=now_s,
                next_try_at_s=now_s,
                is_gone=False,
            )
    return [hook["webhook_id"] for hook, _ in taken]


@pytest.fixture
def engine(databases: Databases) -> Engine:
    return databases.open_ledger()


# ----------------------------------------------------------------------------------------- turns


def test_claim__ended_and_held_endpoints__take_no_places(engine: Engine) -> None:
    for number in range(6):
        put_webhook(engine, f"old{number}", number, waiting=3)
    put_webhook(engine, "new", 9, waiting=1)
    assert len(claim(engine, now_s=100, most=3, ends=False)) == 3
    with write(engine) as connection:
        for number in range(3, 6):
            changes = {"ended_at_s": 1}
            change_webhook(connection, f"old{number}", token_id=number, changes=changes)
    assert claim(engine, now_s=101, most=3) == ["new"]


def test_claim__many_endpoints_of_one_position__others_come_first(engine: Engine) -> None:
    for number in range(6):
        put_webhook(engine, f"greedy{number}", 1, waiting=3)
    put_webhook(engine, "other", 2, waiting=1)
    taken = claim(engine, now_s=100, ends=False)
    assert taken[:2] == ["greedy0", "other"]
    assert len(taken) == 1 + AT_ONCE_MAX
    # What is held counts: no more of the position is taken, by this process or another.
    assert claim(engine, now_s=101) == []


def test_claim__old_backlogs_of_many_positions__newcomers_have_their_turn(engine: Engine) -> None:
    for number in range(6):
        put_webhook(engine, f"old{number}", number, waiting=50)
    claim(engine, now_s=100)
    claim(engine, now_s=101)
    put_webhook(engine, "new", 50, waiting=1)
    assert "new" in claim(engine, now_s=102)


async def test_deliver__every_place_taken_by_slow_endpoints__the_swift_are_told(
    proxy: RunningProxy, receiver: Receiver
) -> None:
    hooks = make_hooks(proxy, timeout_s=60)
    async with Receiver() as slow:
        slow.wait_s = 60
        for number in range(AT_ONCE + 4):
            put_webhook(proxy.engine, f"slow{number}", number, waiting=1, url=slow.url)
        put_webhook(proxy.engine, "swift", 90, waiting=3, url=receiver.url, answer_ms=5)
        delivering = asyncio.create_task(hooks.deliver())
        async with asyncio.timeout(30):
            while len(slow.got) < AT_ONCE or len(receiver.got) < 3:
                await asyncio.sleep(0.02)
        assert not delivering.done()
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
    await hooks.close()


async def test_swift_endpoint__is_slow_this_time__waits_among_the_slow_and_is_tried_once(
    proxy: RunningProxy,
) -> None:
    def read_answer_ms() -> int:
        with read(proxy.engine) as connection:
            found = connection.execute(select(table_of(Webhook).c.answer_ms)).scalar_one()
        return int(found or 0)

    class Faltering(Receiver):
        """Answers nobody before it is known to be slow."""

        async def _take(self, request: web.Request) -> web.Response:
            await until(lambda: read_answer_ms() > SWIFT_MS, "it is noted as slow")
            return await super()._take(request)

    hooks = make_hooks(proxy, swift_s=0.05)
    async with Faltering() as faltering:
        put_webhook(proxy.engine, "swift", 0, waiting=1, url=faltering.url, answer_ms=5)
        await hooks.deliver()
    await hooks.close()
    with read(proxy.engine) as connection:
        [told] = load_deliveries(connection, "swift", token_id=0, limit=9)
    assert (told["state"], told["said"], told["tries"]) == ("delivered", "200", 1)


def test_claim__only_swift__neither_new_nor_slow_ones(engine: Engine) -> None:
    put_webhook(engine, "new", 1, waiting=1)
    put_webhook(engine, "slow", 2, waiting=1, answer_ms=SWIFT_MS + 1)
    put_webhook(engine, "swift", 3, waiting=1, answer_ms=SWIFT_MS)
    with write(engine) as connection:
        taken = claim_due(connection, now_s=9, lasting_s=60, most=9, only_swift=True)
    assert [hook["webhook_id"] for hook, _ in taken] == ["swift"]


# ------------------------------------------------------------------------------------------ full


def test_waiting__many__pings_are_refused_while_news_have_room(engine: Engine) -> None:
    put_webhook(engine, "w", 1, waiting=ASKED_MAX - 1)
    message = Message("asked", "ping", "{}")
    with write(engine) as connection:
        assert ask(connection, "w", message, token_id=1, now_s=100) == ASKED_MAX - 1
        with pytest.raises(TooManyDeliveries):
            ask(connection, "w", message, token_id=1, now_s=100)
        news = [Message(f"n{number}", "news", "{}") for number in range(DELIVERIES_MAX)]
        assert tell(connection, "w", news, now_s=100)
        rows = load_deliveries(connection, "w", token_id=1, limit=1_000)
    states = [row["state"] for row in reversed(rows)]
    assert states == ["waiting"] * DELIVERIES_MAX + ["failed"] * ASKED_MAX
    assert rows[0]["said"] == f"{DELIVERIES_MAX} deliveries waited before it"


async def test_ping_and_replay__where_much_waits__429(
    proxy: RunningProxy, receiver: Receiver
) -> None:
    webhook_id = (await make_webhook(proxy, receiver.url))["webhookId"]
    messages = [Message(f"m{number}", "ping", "{}") for number in range(ASKED_MAX)]
    with write(proxy.engine) as connection:
        tell(connection, webhook_id, messages, now_s=0)
    for path in ("ping", "deliveries/0/replay"):
        answer = await proxy.client.post(f"{ROOT}/webhooks/{webhook_id}/{path}", headers=HEADERS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_deliveries")
        assert answer.headers["retry-after"] == "60"


def test_ask__as_fast_as_the_endpoint_takes_it__is_refused_for_the_rest_of_the_minute(
    engine: Engine,
) -> None:
    for webhook_id in ("w", "x"):
        put_webhook(engine, webhook_id, 1, waiting=0)
    put_webhook(engine, "other", 2, waiting=0)
    message = Message("asked", "ping", "{}")
    with write(engine) as connection:
        for number in range(ASKED_A_MINUTE_MAX):
            webhook_id = "wx"[number % 2]
            ask(connection, webhook_id, message, token_id=1, now_s=100)
            [(_, delivery)] = claim_due(connection, now_s=100, lasting_s=60, most=1)
            note_try(
                connection,
                delivery,
                said="200",
                state="delivered",
                now_s=100,
                next_try_at_s=100,
                is_gone=False,
            )
        for webhook_id in ("w", "x"):
            with pytest.raises(TooManyDeliveries):
                ask(connection, webhook_id, message, token_id=1, now_s=159)
        with pytest.raises(TooManyDeliveries):
            replay(connection, "w", 0, token_id=1, now_s=159)
        ask(connection, "other", message, token_id=2, now_s=159)
        ask(connection, "w", message, token_id=1, now_s=160)


def test_create__and_end_again_and_again__is_refused_for_the_rest_of_the_hour(
    engine: Engine,
) -> None:
    for number in range(SET_AN_HOUR_MAX):
        put_webhook(engine, f"w{number}", 1, waiting=0, created_at_s=100)
        with write(engine) as connection:
            end_webhook(connection, f"w{number}", now_s=100)
    with pytest.raises(TooManyWebhooks):
        put_webhook(engine, "more", 1, waiting=0, created_at_s=3_699)
    put_webhook(engine, "later", 1, waiting=0, created_at_s=3_700)


# ------------------------------------------------------------------------------------------ kept


def test_forget__old_ended_and_too_many__are_forgotten_and_what_waits_stays(
    engine: Engine,
) -> None:
    put_webhook(engine, "ended", 1, waiting=2)
    put_webhook(engine, "live", 2, waiting=1)
    with write(engine) as connection:
        end_webhook(connection, "ended", now_s=100)
        news = [Message(f"n{number}", "news", "{}") for number in range(KEPT_MAX)]
        tell(connection, "live", news, now_s=100)
        forget_deliveries(connection, now_s=100 + ENDED_KEPT_S)
        assert load_deliveries(connection, "live", token_id=2, limit=2_000)[-1]["number"] == 0
        tell(connection, "live", news[:50], now_s=101)
        forget_deliveries(connection, now_s=101 + ENDED_KEPT_S)
        kept = [
            (row["number"], row["state"])
            for row in load_deliveries(connection, "live", token_id=2, limit=2_000)
        ]
        left = connection.execute(select(table_of(Webhook).c.webhook_id)).scalars().all()
    waiting = [(number, "waiting") for number in range(DELIVERIES_MAX)]
    ended = [(number, "failed") for number in range(DELIVERIES_MAX, KEPT_MAX + 51)]
    assert kept[::-1] == waiting + ended
    assert left == ["live"]


async def test_slow_endpoint__holds_its_own_place_only(
    proxy: RunningProxy, receiver: Receiver
) -> None:
    hooks = make_hooks(proxy, timeout_s=3_600)
    async with Receiver() as slow:
        slow.wait_s = 3_600
        await ping(proxy, (await make_webhook(proxy, slow.url))["webhookId"])
        quick_id = (await make_webhook(proxy, receiver.url))["webhookId"]
        for _ in range(3):
            await ping(proxy, quick_id)
        delivering = asyncio.create_task(hooks.deliver())
        await until(lambda: len(receiver.got) >= 3, "the quick one hears all")
        assert not delivering.done()
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
    await hooks.close()


# ----------------------------------------------------------------------------------------- ended


async def test_keys__revoked_on_chain__are_the_last_that_the_webhook_is_told(
    proxy: RunningProxy, hooks: Webhooks, receiver: Receiver
) -> None:
    webhook_id = (await make_webhook(proxy, receiver.url))["webhookId"]
    await ping(proxy, webhook_id)
    change_position(proxy, credited_usdc=1_250_000, key_epoch=1)
    await work(hooks)
    change_position(proxy, credited_usdc=1_500_000, key_epoch=1)
    await work(hooks)
    change_position(proxy, credited_usdc=1_750_000, key_epoch=0)
    await work(hooks)
    assert receiver.types == ["key.revoked"]
    assert (await proxy.client.get(f"{ROOT}/webhooks", headers=HEADERS)).json()["data"] == []


async def test_keys__revoked_but_not_wanted__the_webhook_ends_in_silence(
    proxy: RunningProxy, hooks: Webhooks, receiver: Receiver
) -> None:
    await make_webhook(proxy, receiver.url, events=["position.harvested"])
    for credited_usdc in (1_250_000, 1_500_000):
        change_position(proxy, credited_usdc=credited_usdc, key_epoch=1)
        await work(hooks)
    change_position(proxy, key_epoch=0)
    assert receiver.got == []
    assert (await proxy.client.get(f"{ROOT}/webhooks", headers=HEADERS)).json()["data"] == []


async def test_restore__ends_webhooks(
    proxy: RunningProxy, hooks: Webhooks, receiver: Receiver
) -> None:
    await ping(proxy, (await make_webhook(proxy, receiver.url))["webhookId"])
    with write(proxy.engine) as connection:
        assert end_all_keys(connection, now_s=5) == {"webhooks of positions": 1}
    change_position(proxy, credited_usdc=1_250_000)
    await work(hooks)
    assert receiver.got == []


# ---------------------------------------------------------------------------------------- broken


async def test_url__that_the_client_refuses__is_given_up_and_holds_up_nobody(
    proxy: RunningProxy, receiver: Receiver
) -> None:
    broken_id = (await make_webhook(proxy, receiver.url))["webhookId"]
    good_id = (await make_webhook(proxy, receiver.url))["webhookId"]
    hook = table_of(Webhook)
    with write(proxy.engine) as connection:
        is_it = hook.c.webhook_id == broken_id
        connection.execute(update(hook).where(is_it).values(url="https://hooks.xn--a/"))
    for webhook_id in (broken_id, good_id):
        await ping(proxy, webhook_id)
    hooks = make_hooks(proxy, pauses=1)
    await work(hooks)
    await hooks.close()
    [(_, state, said)] = await list_states(proxy, broken_id)
    assert (state, said) == ("failed", "refused: the URL cannot be parsed")
    assert await list_states(proxy, good_id) == [(0, "delivered", "200")]


async def test_try__that_breaks__counts_and_is_given_up(
    proxy: RunningProxy, receiver: Receiver
) -> None:
    webhook_id = (await make_webhook(proxy, receiver.url))["webhookId"]
    await ping(proxy, webhook_id)

    async def resolve(_: str, __: int) -> list[str]:
        raise ValueError("a client that does as it likes")

    hook = table_of(Webhook)
    with write(proxy.engine) as connection:
        connection.execute(update(hook).values(url="https://hooks.example/"))
    hooks = make_hooks(proxy, resolve=resolve, pauses=1)
    await work(hooks)
    await hooks.close()
    assert await list_states(proxy, webhook_id) == [(0, "failed", "cannot be called: ValueError")]
