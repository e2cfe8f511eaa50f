"""Where the contracts are: the file that the deploy script writes."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.errors import Fatal

_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}")


class DeploymentUnknown(Fatal):
    """The deployment file is missing, unreadable or incomplete."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment, as recorded. Addresses are lower-case 0x hex."""

    chain_id: int
    block_number: int
    """The first block of the deployment: nothing of ours is before it."""
    block_hash: str
    position: str
    adapter: str
    payouts: str
    usdc: str
    multicall3: str
    vault: str
    """The vault that the operator recommends; positions may use others."""

    @property
    def own_contracts(self) -> frozenset[str]:
        """The addresses that no payment may go to: money that arrives there is lost."""
        return frozenset((self.position, self.adapter, self.payouts, self.usdc))


def load_deployment(path: Path) -> Deployment:
    """Read ``deployments/<chain id>.json``. Raises ``DeploymentUnknown`` with what is wrong."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        addresses = {name: _read_address(value) for name, value in record["contracts"].items()}
        return Deployment(
            chain_id=int(record["chain_id"]),
            block_number=int(record["block_number"]),
            block_hash=str(record["block_hash"]).lower(),
            position=addresses["position"],
            adapter=addresses["adapter"],
            payouts=addresses["payouts"],
            usdc=addresses["usdc"],
            multicall3=addresses["multicall3"],
            vault=addresses["vault"],
        )
    except FileNotFoundError:
        raise DeploymentUnknown(f"no deployment at {path}; run the deploy script first") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeploymentUnknown(f"{path} is not a deployment record: {error!r}") from error


def _read_address(value: object) -> str:
    address = str(value).lower()
    if _ADDRESS.fullmatch(address) is None:
        raise ValueError(f"{address!r} is not an address")
    return address
