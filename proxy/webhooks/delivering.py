"""Looks at positions that have webhooks, and delivers what there is to tell.

Every process does both, each by itself: what was seen is compared and set with its deliveries, and
an endpoint is held by one process at a time. An endpoint is called at a checked public address, is
given ``TIMEOUT_S`` in all, and is not followed anywhere else. A webhook ends with the key that set
it: ``key.revoked`` is the last that it is told.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import Connection, RowMapping

from contracts.units import utc_day
from ledger.chain.positions import build_state, get_allowance, next_utc_day_s
from ledger.spending.webhooks import (
    SWIFT_MS,
    Message,
    claim_due,
    count_waiting,
    end_webhook,
    forget_deliveries,
    let_go,
    load_revoked,
    load_watched,
    note_try,
    tell,
)
from proxy.chat.meter import Meter
from proxy.errors import format_time
from proxy.webhooks.happenings import REVOKED, Now, decide, read_seen, write_body
from proxy.webhooks.signing import TIMEOUT_S, open_secret, sign
from serving.models.dialing import Dialer, UrlRefused
from serving.models.failures import UpstreamFailure
from serving.models.upstream import translated
from serving.process.aes_gcm import SealBroken
from serving.process.ids import new_id

log = structlog.get_logger("proxy")

LOOK_S: Final = 2.0
BUSY_S: Final = 60
"""For how long a process holds an endpoint: longer than one try takes."""
AT_ONCE: Final = 16
"""Endpoints that are called at the same time, whoever they are."""
SWIFT_AT_ONCE: Final = 16
"""Endpoints that are called beside those, of the ones that were swift to answer last time: slow and
new ones, of however many owners, cannot hold them up. Which of them is slow this time is broken off
and called again in a place of the others."""
SWIFT_S: Final = SWIFT_MS / 1_000
"""How long a try may take in a place of the swift ones, seconds."""
_TIMEOUT: Final = "timeout"
PAUSES_S: Final = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200)
"""The pauses between tries: about 28 hours in all, then a delivery is given up."""
GONE: Final = 410


@dataclass(frozen=True, slots=True)
class _Change:
    """What an endpoint is to be told, and what it had seen before and has seen now."""

    webhook_id: str
    messages: list[Message]
    seen: tuple[str, str]
    is_last: bool


class Webhooks:
    """Tells owners what happens to their positions."""

    def __init__(
        self,
        meter: Meter,
        dialer: Callable[[], Dialer],
        key_secrets: tuple[bytes, ...],
        *,
        pauses_s: tuple[int, ...] = PAUSES_S,
        timeout_s: float = TIMEOUT_S,
        swift_s: float = SWIFT_S,
    ) -> None:
        """``dialer`` makes one inside the running loop."""
        self._meter = meter
        self._dialer = dialer()
        self.key_secrets = key_secrets
        self._pauses_s = pauses_s
        self._timeout_s = timeout_s
        self._swift_s = swift_s

    async def close(self) -> None:
        """Close the connections."""
        await self._dialer.close()

    async def check(self, url: str) -> None:
        """Refuse a URL that must not be called. Raises ``UrlRefused``."""
        await self._dialer.check_artifact(url)

    async def look(self) -> int:
        """Note what there is to tell; return how much."""
        now_s = self._meter.now_s()
        changed, over = await self._meter.read(lambda c: self._find_changes(c, now_s=now_s))
        told = 0
        for change in changed:

            def write(connection: Connection, change: _Change = change) -> bool:
                return tell(
                    connection,
                    change.webhook_id,
                    change.messages,
                    now_s=now_s,
                    seen=change.seen,
                    is_last=change.is_last,
                )

            if await self._meter.write(write):
                told += len(change.messages)
        for webhook_id in over:

            def end(connection: Connection, webhook_id: str = webhook_id) -> None:
                end_webhook(connection, webhook_id, now_s=now_s)

            await self._meter.write(end)
        return told

    def _find_changes(
        self, connection: Connection, *, now_s: int
    ) -> tuple[list[_Change], list[str]]:
        """Return what to tell, and the endpoints that were told the last."""
        found, over = [], []
        for hook, position in load_watched(connection):
            before = read_seen(hook["seen"])
            is_last = position["key_epoch"] > hook["key_epoch"]
            if is_last and before.key_epoch >= position["key_epoch"]:
                if not count_waiting(connection, hook["webhook_id"]):
                    over.append(hook["webhook_id"])
                continue
            now = read_position(
                connection, position, now_s=now_s, revoked_since_s=before.revoked_since_s
            )
            happenings, seen = decide(before, now, low_usdc=hook["low_usdc"])
            after = seen.write()
            if after == hook["seen"]:
                continue
            messages = []
            for one in happenings:
                if f'"{one.kind}"' not in hook["events"] or (is_last and one.kind != REVOKED):
                    continue
                message_id = f"msg_{new_id()}"
                body = write_body(
                    one,
                    message_id=message_id,
                    token_id=hook["token_id"],
                    timestamp=format_time(now_s),
                )
                messages.append(Message(message_id, one.kind, body))
            found.append(_Change(hook["webhook_id"], messages, (hook["seen"], after), is_last))
        return found, over

    async def deliver(self) -> int:
        """Try what is due, and what becomes due meanwhile; return how many tries there were.

        A slow endpoint holds its own place only: the others' are filled again at once.
        """
        trying: dict[asyncio.Task[None], bool] = {}
        tries = 0
        try:
            while True:
                swift = sum(trying.values())
                due = await self._claim(
                    swift=SWIFT_AT_ONCE - swift, anybody=AT_ONCE - len(trying) + swift
                )
                for is_swift, hook, one in due:
                    trying[asyncio.create_task(self._try(hook, one, is_swift=is_swift))] = is_swift
                tries += len(due)
                if not trying:
                    return tries
                done, _ = await asyncio.wait(
                    trying, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    del trying[task]
                    if (error := task.exception()) is not None:
                        # The endpoint is free again when nobody can hold it any more.
                        log.error("webhook_try_failed", error=type(error).__name__)
        finally:
            for task in trying:
                task.cancel()
            await asyncio.gather(*trying, return_exceptions=True)

    async def _claim(
        self, *, swift: int, anybody: int
    ) -> list[tuple[bool, RowMapping, RowMapping]]:
        """Return what is to be tried, each with whether it takes a place of the swift ones."""
        if swift + anybody == 0:
            return []
        now_s = self._meter.now_s()

        def claim(connection: Connection) -> list[tuple[bool, RowMapping, RowMapping]]:
            return [
                (only_swift, hook, delivery)
                for only_swift, most in ((True, swift), (False, anybody))
                for hook, delivery in claim_due(
                    connection, now_s=now_s, lasting_s=BUSY_S, most=most, only_swift=only_swift
                )
            ]

        return await self._meter.write(claim)

    async def _try(self, hook: RowMapping, delivery: RowMapping, *, is_swift: bool) -> None:
        is_short = is_swift and self._swift_s < self._timeout_s
        limit_s = self._swift_s if is_short else self._timeout_s
        started_s = time.monotonic()
        status, said = await self._send(hook, delivery, limit_s=limit_s)
        answer_ms = int((time.monotonic() - started_s) * 1_000)
        now_s = self._meter.now_s()
        if is_short and said == _TIMEOUT:
            # It has the rest of its time in a place of the slow ones: this was no try yet.
            slow_ms = max(answer_ms, SWIFT_MS + 1)
            await self._meter.write(
                lambda c: let_go(c, hook["webhook_id"], now_s=now_s, answer_ms=slow_ms)
            )
            return
        is_well = status is not None and 200 <= status < 300
        tries = delivery["tries"] + 1
        state, next_try_at_s = "waiting", now_s
        if is_well:
            state = "delivered"
        elif status == GONE or tries > len(self._pauses_s):
            state = "failed"
        else:
            next_try_at_s = now_s + self._pauses_s[tries - 1]
        await self._meter.write(
            lambda c: note_try(
                c,
                delivery,
                said=said,
                state=state,
                now_s=now_s,
                next_try_at_s=next_try_at_s,
                is_gone=status == GONE,
                answer_ms=answer_ms,
            )
        )
        log.info(
            "webhook_tried",
            webhook_id=hook["webhook_id"],
            number=delivery["number"],
            said=said,
            state=state,
        )

    async def _send(
        self, hook: RowMapping, delivery: RowMapping, *, limit_s: float
    ) -> tuple[int | None, str]:
        """Return the HTTP status of an answer, if there is one, and what to show of the try."""
        body = delivery["body"].encode()
        try:
            headers = sign(
                self._open_secrets(hook),
                message_id=delivery["message_id"],
                timestamp_s=self._meter.now_s(),
                body=body,
            )
            async with asyncio.timeout(limit_s):
                client, url, _ = await self._dialer.dial_artifact(hook["url"])
                request = client.post(url).body_bytes(body)
                request = request.header("content-type", "application/json")
                for name, value in headers.items():
                    request = request.header(name, value)
                request = request.timeout(timedelta(seconds=self._timeout_s))
                with translated():
                    # What it answers is not read: its status says all.
                    async with request.build_streamed() as response:
                        return response.status, str(response.status)
        except UrlRefused as error:
            return None, f"refused: {error}"
        except SealBroken:
            return None, "its secret does not open: rotate it"
        except TimeoutError:
            return None, _TIMEOUT
        except UpstreamFailure as failure:
            return None, str(failure.cause)
        except Exception as error:
            # Whatever it is, it counts as a try: what cannot be called is given up in the end.
            log.exception("webhook_cannot_be_called", webhook_id=hook["webhook_id"])
            return None, f"cannot be called: {type(error).__name__}"

    def _open_secrets(self, hook: RowMapping) -> list[bytes]:
        sealed = [hook["secret"]]
        is_rotating = self._meter.now_s() < hook["secret_before_until_s"]
        if hook["secret_before"] is not None and is_rotating:
            sealed.append(hook["secret_before"])
        return [
            open_secret(one, key_secrets=self.key_secrets, webhook_id=hook["webhook_id"])
            for one in sealed
        ]

    async def forget(self) -> None:
        """Forget deliveries that ended long ago."""
        now_s = self._meter.now_s()
        await self._meter.write(lambda c: forget_deliveries(c, now_s=now_s))


def read_position(
    connection: Connection, row: RowMapping, *, now_s: int, revoked_since_s: int
) -> Now:
    """Return a position as events are decided by, with the child keys revoked since then."""
    allowance = get_allowance(build_state(row), now_s=now_s)
    drawn_usdc = row["drawn_usdc"]
    return Now(
        credited_usdc=row["credited_usdc"],
        key_epoch=row["key_epoch"],
        now_s=now_s,
        revoked=load_revoked(connection, token_id=row["token_id"], since_s=revoked_since_s),
        unspent_usdc=max(0, allowance.unspent_usdc - drawn_usdc),
        today_left_usdc=max(0, allowance.remaining_usdc - drawn_usdc),
        today_cap_usdc=allowance.day_cap_usdc,
        day=utc_day(now_s),
        resets_at=format_time(next_utc_day_s(now_s)),
    )
