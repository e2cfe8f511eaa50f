"""P1 to P6, A1 to A5, Y1 and Y2 after every step of any sequence of calls, against a model.

The model (``contract_model.py``) is written from the specification and foresees every call: whether
it succeeds, and every figure after it.

::

    HoldMachine ......... holds, settlements, days, expiries and keys
    MixedMachine ........ everything else too: principal, signatures, gifts, vaults and USDC in
                          trouble, payouts, keepers and admins that are replaced
    HostileMachine ...... positions on a vault that lies, steals and re-enters, whose own figures
                          are measured; all other figures stay as foreseen

``CONTRACT_EXAMPLES`` sets how many games of each ``make fuzz`` plays.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.contracts.hold import HoldMachine
from tests.property.contracts.hostile import HostileMachine
from tests.property.contracts.mixed import MixedMachine
from tests.property.contracts.stage import START_S
from tests.support.anvil import Anvil

MACHINES = (HoldMachine, MixedMachine, HostileMachine)
ANVIL_ARGUMENTS = ("--block-base-fee-per-gas", "0", "--gas-price", "0")


def play(
    machine: type[HoldMachine], request: pytest.FixtureRequest, *, examples: int, steps: int
) -> None:
    """Run a machine on a chain of its own, and say how fast it was."""
    with Anvil(timestamp_s=START_S, arguments=ANVIL_ARGUMENTS) as anvil:
        machine.stage = machine.stage_type(anvil)
        started_s = time.perf_counter()
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=steps,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            report(machine, request, time.perf_counter() - started_s)
            machine.stage.close()


def report(machine: type[HoldMachine], request: pytest.FixtureRequest, elapsed_s: float) -> None:
    """Print the steps a second past the capture."""
    steps = machine.stage.steps
    plugins = request.config.pluginmanager
    reporter: Any = plugins.get_plugin("terminalreporter")
    capture: Any = plugins.get_plugin("capturemanager")
    speed = f"{steps} steps in {elapsed_s:.1f} s, {steps / elapsed_s:.0f} a second"
    with capture.global_and_fixture_disabled():
        reporter.write_line(f"\n{machine.__name__}: {speed}")


@pytest.mark.parametrize("machine", MACHINES)
def test_contracts__any_calls__as_specified(
    machine: type[HoldMachine], request: pytest.FixtureRequest
) -> None:
    play(machine, request, examples=12, steps=40)


def test_harvest__gift_to_its_position_in_the_middle__is_counted_once() -> None:
    with Anvil(timestamp_s=START_S, arguments=ANVIL_ARGUMENTS) as anvil:
        HostileMachine.stage = HostileMachine.stage_type(anvil)
        try:
            game = HostileMachine()
            game.plan_position_call(drawn=5, own=5, which=3)
            (gift,) = game.plan
            game.ripen(drawn=1, name="REENTERS", percent=110)

            assert gift.function == "creditFor"
            assert game.fresh is not None
            assert game.fresh.tokens[5].account.credited > gift.given[1]
            game.everything_holds()
        finally:
            HostileMachine.stage.close()


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_contracts__very_many_calls__as_specified(
    machine: type[HoldMachine], request: pytest.FixtureRequest
) -> None:
    examples = int(os.environ.get("CONTRACT_EXAMPLES", "200"))
    play(machine, request, examples=examples, steps=120)
