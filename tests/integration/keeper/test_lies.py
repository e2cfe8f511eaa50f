"""An endpoint that is silent, or lies, about anything: it costs time, and nothing is paid twice.

::

    silent, swallows, refuses, lies about receipts, nonces, calls, gas, fees, heads, its chain, or
    talks nonsense
    ├── one of three → as if it were not there, and as the first that is asked too
    └── the only one → late, but once; no answer ends the daemon
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

import pytest

from contracts.errors import Retryable
from contracts.node_errors import WrongChain
from contracts.transport import HttpTransport, Transport
from tests.integration.keeper.test_transactor import COST, assert_clean, go_on
from tests.support.keepers import Stage
from tests.support.liars import DELAYING, LIES, Liar

USUAL: Final = (
    "refuses",
    "swallows",
    "no_receipts",
    "nonces_absurd",
    "gas_absurd",
    "garbled",
    "internal_error",
    "compute_units",
)
"""One of each sort, for every run."""
FAILING: Final = ("internal_error", "compute_units", "silent")
"""An endpoint that answers nothing of use, and says so."""


def some_always(lies: Iterable[str]) -> list[object]:
    """Return the lies as parameters: one of each sort in every run, all of them in slow ones."""
    return [pytest.param(lie, marks=() if lie in USUAL else pytest.mark.slow) for lie in lies]


@pytest.fixture
def token_id(stage: Stage) -> int:
    """Return a position with a live hold and posted usage."""
    token_id = stage.open_held()
    stage.spend(token_id, COST)
    return token_id


@pytest.fixture
def open_endpoint(stage: Stage) -> Iterator[Callable[[], Transport]]:
    """Return what opens another endpoint of the chain."""
    opened: list[HttpTransport] = []

    def open_one() -> Transport:
        opened.append(HttpTransport(stage.world.anvil.url))
        return opened[-1]

    yield open_one
    for endpoint in opened:
        endpoint.close()


def alone(honest: int) -> tuple[type[Exception], ...]:
    """Return what else may end a round where there is nobody else to ask."""
    return () if honest else (WrongChain,)


@pytest.mark.parametrize("lie", some_always(LIES))
@pytest.mark.parametrize("honest", [2, 0])
@pytest.mark.sampled(4)
def test_settle__an_endpoint_lies__settles_once(
    stage: Stage, token_id: int, open_endpoint: Callable[[], Transport], lie: str, honest: int
) -> None:
    anvil = stage.world.anvil
    liar = Liar(open_endpoint())
    stage.endpoints = [liar, *(open_endpoint() for _ in range(honest))]
    anvil.set_automine(False)
    with suppress(Retryable):
        stage.keeper().tick()
    liar.lie = lie
    for _ in range(3):
        with suppress(Retryable, *alone(honest)):
            stage.keeper().tick()
    anvil.set_automine(True)
    with suppress(*alone(honest)):
        go_on(stage, rounds=4)
    if honest:
        assert stage.chain_spent(token_id) == COST

    liar.lie = None
    go_on(stage)

    assert stage.chain_spent(token_id) == COST
    assert len(stage.settlements()) == 1
    assert stage.usage_states() == {"request-1": "settled"}
    assert_clean(stage)


@pytest.mark.parametrize("lie", some_always(LIES))
@pytest.mark.sampled(4)
def test_settle__lied_to_from_the_start__once_it_ends_it_is_settled(
    stage: Stage, token_id: int, open_endpoint: Callable[[], Transport], lie: str
) -> None:
    liar = Liar(open_endpoint())
    liar.lie = lie
    stage.endpoints = [liar, open_endpoint(), open_endpoint()]
    go_on(stage, rounds=3)
    if lie not in DELAYING:
        assert stage.chain_spent(token_id) == COST

    liar.lie = None
    stage.ahead_s = 61
    stage.settings["MAX_STALENESS_S"] = "200"
    go_on(stage, rounds=6)

    assert stage.chain_spent(token_id) == COST
    assert len(stage.settlements()) == 1
    assert_clean(stage)


@pytest.mark.parametrize("lie", FAILING)
def test_settle__one_of_two_fails_for_ever__settles_in_the_first_round(
    stage: Stage, token_id: int, open_endpoint: Callable[[], Transport], lie: str
) -> None:
    bad = Liar(open_endpoint())
    bad.lie = lie
    stage.endpoints = [bad, open_endpoint()]

    assert stage.keeper().tick().acted == {"settle": 1}
    assert stage.chain_spent(token_id) == COST


class Hoarder(Liar):
    """An endpoint that goes on showing the receipts of blocks that were reorganised away."""

    def __init__(self, honest: Transport) -> None:
        super().__init__(honest)
        self.kept: dict[str, Any] = {}

    def request(self, method: str, params: list[Any]) -> Any:
        answer = super().request(method, params)
        if method != "eth_getTransactionReceipt":
            return answer
        return self.kept.setdefault(params[0], answer) if answer else self.kept.get(params[0])


def test_hold__receipt_of_a_block_that_is_gone__does_not_count(
    stage: Stage, open_endpoint: Callable[[], Transport]
) -> None:
    hoarder = Hoarder(open_endpoint())
    stage.endpoints = [hoarder]
    held = stage.open_held()
    stage.world.anvil.reorg(1)
    stage.world.anvil.mine(4)
    stage.sync()
    assert stage.state(held).hold_usdc == 0

    stage.keeper().tick()
    assert stage.intent_states("hold")[0] == "mined", "not confirmed"

    hoarder.kept.clear()
    go_on(stage, rounds=4)
    assert set(stage.intent_states("hold")) == {"confirmed"}
    assert stage.state(held).hold_usdc == 5_000_000
