"""Whether a limit is one limit, however many processes it is used through."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from bench.proxy.servers import Server
from bench.proxy.upstream import MODEL
from bench.report import BenchError
from serving.models.sold import COST_HEADER

AT_ONCE: Final = 64
BODY: Final = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16}
REFUSED: Final = (402, 429)


@dataclass(frozen=True, slots=True)
class Spending:
    """What was bought of a limit until nothing more was to be had. Amounts in 1e-6 USDC."""

    served: int
    cost_usdc: int
    refused: int


def spend_all(servers: Sequence[Server], path: str, key: str) -> Spending:
    """Ask all servers at once, ``AT_ONCE`` requests, each client until it is refused.

    A client that is refused while others' requests are under way asks again once they are over: the
    limit is used up only when a request is refused that was alone. Raises ``BenchError`` where an
    answer is neither.
    """
    return asyncio.run(_spend_all(servers, path, key))


def _read_cost(answer: httpx.Response) -> int:
    told = answer.headers.get("x-current-cost-usdc", answer.headers.get(COST_HEADER))
    if told is None:
        raise BenchError("an answer does not say what it cost")
    return int(told)


async def _spend_all(servers: Sequence[Server], path: str, key: str) -> Spending:
    costs_usdc: list[int] = []
    refused = 0
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(
        headers={"authorization": f"Bearer {key}"}, timeout=60, limits=limits, trust_env=False
    ) as client:

        async def ask(server: Server) -> bool:
            nonlocal refused
            answer = await client.post(server.url + path, json=BODY)
            if answer.status_code == 200:
                costs_usdc.append(_read_cost(answer))
                return True
            if answer.status_code not in REFUSED:
                raise BenchError(f"neither served nor refused: {answer.text[:200]}")
            refused += 1
            return False

        async def go_on(server: Server) -> None:
            while await ask(server):
                pass

        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(go_on(servers[number % len(servers)]))
        while await ask(servers[0]):
            pass
    return Spending(len(costs_usdc), sum(costs_usdc), refused)
