"""Fixtures of the contract tests: one world a session, put back after every test by Ape."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Ape looks for `anvil` and `vyper` on PATH; both are the project's own.
from scripts.stack.anvil_path import anvil_path

_OWN = [str(anvil_path().parent), str(Path(sys.executable).parent)]
os.environ["PATH"] = os.pathsep.join([*_OWN, os.environ.get("PATH", "")])

import ape  # noqa: E402 - Ape reads the environment when it is imported
import pytest  # noqa: E402
from ape.contracts import ContractInstance  # noqa: E402
from ape.managers.project import ProjectManager  # noqa: E402
from ape.utils.testing import generate_dev_accounts  # noqa: E402
from ape_foundry.provider import FoundryProvider  # noqa: E402

from tests.contract.world import NOON, World  # noqa: E402

_VALIDATE_SETTINGS: Any = FoundryProvider.settings.fget  # type: ignore[attr-defined]
_SETTINGS: dict[int, tuple[FoundryProvider, Any]] = {}
"""By the provider's id, which is another's once it is gone: so it is kept here too."""


def _settings_once(provider: FoundryProvider) -> Any:
    """Return a provider's settings, validated when they are first asked for."""
    if id(provider) not in _SETTINGS:
        _SETTINGS[id(provider)] = provider, _VALIDATE_SETTINGS(provider)
    return _SETTINGS[id(provider)][1]


@pytest.fixture(scope="session")
def quick_ape() -> Iterator[None]:
    """Spare what makes Ape slow, to no test's use.

    It derives every test account anew for each transaction, and prints a call tree and builds a
    source traceback for each revert, expected or not: 3 s for a harvest. For each question to the
    node it reads the whole environment for a proxy, looks for a file of passwords, and validates
    its own settings again.
    """
    with pytest.MonkeyPatch.context() as patch:
        cached = functools.cache(generate_dev_accounts)
        patch.setattr("ape_test.accounts.generate_dev_accounts", cached)
        patch.setattr("ape_ethereum.trace.TransactionTrace.show", lambda *_, **__: None)
        patch.setattr("ape.exceptions._get_ape_traceback_from_tx", lambda _: None)
        patch.setattr("requests.sessions.get_environ_proxies", lambda *_, **__: {})
        patch.setattr("requests.sessions.get_netrc_auth", lambda *_, **__: None)
        patch.setattr(FoundryProvider, "settings", property(_settings_once))
        yield


@pytest.fixture(scope="session")
def deployed(project: ProjectManager, quick_ape: None) -> World:  # noqa: ARG001
    """Deploy everything, as ``scripts/deploy.py`` does, with the actors in their roles."""
    admin, settler, payer, owner, second_owner, outsider, payee, second_payee = (
        ape.accounts.test_accounts[index] for index in range(8)
    )
    ape.chain.mine(timestamp=NOON)
    usdc = admin.deploy(project.MockUSDC)
    vault = admin.deploy(project.MockVault, usdc)
    position_address = admin.get_deployment_address(admin.nonce + 1)
    adapter_address = admin.get_deployment_address(admin.nonce + 2)
    payouts = admin.deploy(project.Payouts, usdc, position_address, adapter_address, admin)
    position = admin.deploy(project.YieldFundedPosition, usdc, adapter_address, payouts, admin)
    adapter = admin.deploy(project.LendingYieldAdapter, usdc, position)
    # For gas, when a test sends in the adapter's name.
    ape.accounts[adapter.address].balance = 10**18
    position.setSettler(settler, True, sender=admin)
    payouts.setPayer(payer, True, sender=admin)
    return World(
        project=project,
        admin=admin,
        settler=settler,
        payer=payer,
        owner=owner,
        second_owner=second_owner,
        outsider=outsider,
        payee=payee,
        second_payee=second_payee,
        usdc=usdc,
        vault=vault,
        payouts=payouts,
        position=position,
        adapter=adapter,
    )


@pytest.fixture
def world(deployed: World) -> World:
    """Return the world as it was deployed, at noon."""
    return deployed


@pytest.fixture
def position(world: World) -> ContractInstance:
    """Return the position contract."""
    return world.position


@pytest.fixture
def adapter(world: World) -> ContractInstance:
    """Return the adapter."""
    return world.adapter


@pytest.fixture
def payouts(world: World) -> ContractInstance:
    """Return the treasury."""
    return world.payouts


@pytest.fixture
def usdc(world: World) -> ContractInstance:
    """Return the mock USDC."""
    return world.usdc


@pytest.fixture
def vault(world: World) -> ContractInstance:
    """Return the mock vault."""
    return world.vault
