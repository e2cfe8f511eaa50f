"""Deploy the contracts, check them, and record where they are.

::

    ape run deploy --network http://127.0.0.1:8545 --keeper 0x…          a running anvil, any port
    ape run deploy --network https://base.example --keeper 0x… --account operator       Base

``--network`` is the bare URL: with ``ethereum:local:`` before it, Ape would assume a chain id
instead of asking the node. Run it from the project's folder, with the project's ``.venv/bin/ape``.

The deployer, who becomes the admin, is the first of: the key in ``DEPLOYER_PRIVATE_KEY``; the key
in the file that ``DEPLOYER_PRIVATE_KEY_FILE`` names; the Ape account that ``--account`` names; on
the devnet (chain id 31337), anvil's first account.

On Base the real USDC, vault and Multicall3 are used. On the devnet, or with ``--with-mocks`` on
another test chain, stand-ins are deployed first, and the vault starts to earn.

The record is ``deployments/<chain id>.json`` (the folder: ``CURRENT_DEPLOYMENTS_DIR``). It is
written once, whole, after everything was checked; when there is one already, nothing is sent.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import click
from ape import accounts, chain, project
from ape.api import AccountAPI
from ape.cli import ConnectedProviderCommand
from ape.contracts import ContractContainer, ContractInstance
from ape_accounts.accounts import ApeSigner
from eth_utils.address import is_address, to_checksum_address

DEVNET_CHAIN_ID = 31337
BASE_CHAIN_ID = 8453
BASE_EXTERNALS = {
    "usdc": "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
    "vault": "0xbeeF010f9cb27031ad51e3333f9aF9C6B1228183",  # Steakhouse steakUSDC
    "multicall3": "0xcA11bde05977b3631167028862bE2a173976CA11",
}
APY_BPS_MAX = 100_000


class DeployError(click.ClickException):
    """The deployment cannot go on; the message is the one sentence to print."""


class KeyAccount(ApeSigner):
    """An account whose key lives in this process only."""

    @property
    def alias(self) -> str:
        """Name it in Ape's messages."""
        return "deployer"


class Deployer:
    """The contracts that one account deploys, and the transactions that made them, in order."""

    def __init__(self, account: AccountAPI) -> None:
        self.account = account
        self.contracts: dict[str, ContractInstance] = {}
        self.transactions: dict[str, str] = {}

    def deploy(self, name: str, container: ContractContainer, *arguments: Any) -> ContractInstance:
        """Deploy one contract and return it."""
        instance = self.account.deploy(container, *arguments)
        self.contracts[name] = instance
        self.transactions[f"deploy {name}"] = str(instance.txn_hash)
        return instance

    def call(self, name: str, method: str, *arguments: Any) -> None:
        """Send one transaction to a contract deployed before."""
        function = getattr(self.contracts[name], method)
        # What a call needs may grow with the time between estimate and block.
        gas = function.estimate_gas_cost(*arguments, sender=self.account) * 3 // 2
        receipt = function(*arguments, sender=self.account, gas_limit=gas)
        self.transactions[f"{name}.{method}"] = receipt.txn_hash


def deploy_all(
    account: AccountAPI, *, keeper: str, apy_bps: int, externals: dict[str, str] | None
) -> Deployer:
    """Deploy and wire everything; stand-ins for ``externals`` too when there are none."""
    deployment = Deployer(account)
    if externals is None:
        usdc = deployment.deploy("usdc", project.MockUSDC)
        deployment.deploy("vault", project.MockVault, usdc)
        deployment.deploy("multicall3", project.Multicall3)
        deployment.call("vault", "setApyBps", apy_bps)
    else:
        usdc = project.MockUSDC.at(externals["usdc"])
        deployment.contracts["usdc"] = usdc
        deployment.contracts["vault"] = project.MockVault.at(externals["vault"])
        deployment.contracts["multicall3"] = project.Multicall3.at(externals["multicall3"])

    # Each names the others, so two addresses are known before their contracts are there.
    position_address = account.get_deployment_address(account.nonce + 1)
    adapter_address = account.get_deployment_address(account.nonce + 2)
    payouts = deployment.deploy(
        "payouts", project.Payouts, usdc, position_address, adapter_address, account
    )
    position = deployment.deploy(
        "position", project.YieldFundedPosition, usdc, adapter_address, payouts, account
    )
    adapter = deployment.deploy("adapter", project.LendingYieldAdapter, usdc, position)
    for name, is_, expected in (
        ("position", position.address, position_address),
        ("adapter", adapter.address, adapter_address),
    ):
        if is_ != expected:
            raise DeployError(
                f"the {name} is at {is_}, not at {expected} as predicted: "
                "another transaction of this account came between; deploy again"
            )
    deployment.call("position", "setSettler", keeper, True)
    deployment.call("payouts", "setPayer", keeper, True)
    return deployment


def check_all(contracts: dict[str, ContractInstance], *, admin: str, keeper: str) -> None:
    """Read everything back. Raises ``DeployError`` with all that is not as it should be."""
    usdc, vault = contracts["usdc"], contracts["vault"]
    payouts, position, adapter = (contracts[n] for n in ("payouts", "position", "adapter"))
    answers = {
        "payouts.usdc": (payouts.usdc(), usdc.address),
        "payouts.position": (payouts.position(), position.address),
        "payouts.adapter": (payouts.adapter(), adapter.address),
        "payouts.owner": (payouts.owner(), admin),
        "payouts.isPayer(keeper)": (payouts.isPayer(keeper), True),
        "position.usdc": (position.usdc(), usdc.address),
        "position.adapter": (position.adapter(), adapter.address),
        "position.treasury": (position.treasury(), payouts.address),
        "position.owner": (position.owner(), admin),
        "position.isSettler(keeper)": (position.isSettler(keeper), True),
        "adapter.usdc": (adapter.usdc(), usdc.address),
        "adapter.position": (adapter.position(), position.address),
        "vault.asset": (vault.asset(), usdc.address),
        "usdc.decimals": (usdc.decimals(), 6),
    }
    wrong = [f"{name} is {is_}, not {want}" for name, (is_, want) in answers.items() if is_ != want]
    wrong += [f"no code at {name}" for name, contract in contracts.items() if not contract.code]
    if wrong:
        raise DeployError("deployed, but not as it should be: " + "; ".join(wrong))


def build_record(deployment: Deployer, *, admin: str, keeper: str) -> dict[str, Any]:
    """Build what is written down. The block is the first of the deployment."""
    first = chain.provider.get_receipt(next(iter(deployment.transactions.values())))
    block = chain.provider.get_block(first.block_number)
    return {
        "chain_id": chain.chain_id,
        "deployer": admin,
        "admin": admin,
        "keeper": keeper,
        "block_number": first.block_number,
        "block_hash": "0x" + bytes(block.hash).hex(),
        "deployed_at_s": block.timestamp,
        "contracts": {
            name: deployment.contracts[name].address
            for name in ("payouts", "position", "adapter", "usdc", "vault", "multicall3")
        },
        "transactions": deployment.transactions,
    }


def write_record(record: dict[str, Any], path: Path) -> None:
    """Write the record whole or not at all, and never over another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.") as draft:
        draft.write(json.dumps(record, indent=2) + "\n")
        draft.flush()
        os.fsync(draft.fileno())
        os.chmod(draft.name, 0o644)
        try:
            # Unlike a rename, a link refuses to replace what came into being meanwhile.
            os.link(draft.name, path)
        except FileExistsError:
            raise DeployError(f"{path} was written by somebody else meanwhile") from None


def find_externals(chain_id: int, *, with_mocks: bool) -> dict[str, str] | None:
    """Return the contracts of others to use on a chain; None when stand-ins are to be deployed."""
    if chain_id == BASE_CHAIN_ID:
        if with_mocks:
            raise DeployError("--with-mocks is for test chains, this is Base")
        return BASE_EXTERNALS
    if with_mocks or chain_id == DEVNET_CHAIN_ID:
        return None
    raise DeployError(
        f"no USDC is known on chain {chain_id}; --with-mocks deploys stand-ins on a test chain"
    )


def check_externals(externals: dict[str, str]) -> None:
    """Refuse to deploy onto a chain where the contracts of others are not there."""
    missing = [name for name, address in externals.items() if not chain.provider.get_code(address)]
    if missing:
        raise DeployError(f"no code at {', '.join(missing)} on this chain; is it really Base?")


def load_account(alias: str | None) -> AccountAPI:
    """Return the deployer, see the module. No message ever shows a key."""
    key = os.environ.get("DEPLOYER_PRIVATE_KEY")
    source = "DEPLOYER_PRIVATE_KEY"
    if not key and (key_file := os.environ.get("DEPLOYER_PRIVATE_KEY_FILE")):
        source = f"the file {key_file}"
        try:
            key = Path(key_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise DeployError(f"{source} cannot be read: {error.strerror}") from None
    if key:
        try:
            account = KeyAccount(private_key=key)
            _ = account.address
        except Exception:
            raise DeployError(f"{source} does not hold a private key") from None
        return account
    if alias:
        return accounts.load(alias)
    if chain.chain_id == DEVNET_CHAIN_ID:
        return accounts.test_accounts[0]
    raise DeployError("no deployer: set DEPLOYER_PRIVATE_KEY or pass --account")


@click.command(cls=ConnectedProviderCommand, name="deploy", short_help="Deploy the contracts")
@click.option(
    "--keeper",
    envvar="CURRENT_KEEPER_ADDRESS",
    required=True,
    help="The address that may settle and pay (or CURRENT_KEEPER_ADDRESS).",
)
@click.option("--account", "alias", help="An Ape account, when no key is in the environment.")
@click.option("--with-mocks", is_flag=True, help="Deploy stand-ins for USDC, vault and Multicall3.")
@click.option(
    "--apy-bps",
    type=click.IntRange(0, APY_BPS_MAX),
    default=500,
    show_default=True,
    help="What the stand-in vault earns in a year, in 1/10,000.",
)
def cli(keeper: str, alias: str | None, with_mocks: bool, apy_bps: int) -> None:
    """Deploy the contracts, check them, and record where they are."""
    # Ape's own, and of no use to whoever deploys.
    warnings.filterwarnings("ignore", message="Field 'import_remapping' has an incomplete")
    # Ape looks for `vyper` on PATH; ours lies beside this Python.
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )
    if not is_address(keeper):
        raise DeployError("--keeper is not an address")
    keeper = to_checksum_address(keeper)
    if int(chain.provider.make_request("eth_chainId", []), 16) != chain.chain_id:
        raise DeployError(
            "Ape assumes another chain id than the node's: pass a bare URL, --network URL"
        )
    folder = Path(os.environ.get("CURRENT_DEPLOYMENTS_DIR") or "deployments")
    path = folder / f"{chain.chain_id}.json"
    if path.exists():
        raise DeployError(f"{path} exists: remove it to deploy again")
    externals = find_externals(chain.chain_id, with_mocks=with_mocks)
    if externals is not None:
        check_externals(externals)
    account = load_account(alias)
    # Now, not between two transactions. Ape's cache misses changes of imported modules, so where it
    # matters everything is compiled again; for the devnet, `make setup` has done it.
    project.load_contracts(use_cache=chain.chain_id == DEVNET_CHAIN_ID)

    deployment = deploy_all(account, keeper=keeper, apy_bps=apy_bps, externals=externals)
    check_all(deployment.contracts, admin=account.address, keeper=keeper)
    write_record(build_record(deployment, admin=account.address, keeper=keeper), path)
    click.echo(f"deployed: {path}")
