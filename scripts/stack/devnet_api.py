"""The devnet's own API, and its connection to the market: what a stranger buys a call of.

``python -m scripts.stack.devnet_api`` serves it over a chain.
"""

import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import httpx
import uvicorn
from eth_utils.address import is_address, to_checksum_address
from web3 import Web3
from web3.exceptions import BlockNotFound

from contracts.chain import open_web3
from contracts.deployment import load_deployment
from scripts.asking import answers_well
from scripts.stack.analytics import KEY_HEADER, REMAINING_HEADER, ApiQuota, create_analytics
from scripts.stack.ports import free_port
from scripts.stack.processes import Stack
from scripts.stack.run_directory import keep_secret
from serving.process.command_line import command

ROOT: Final = Path(__file__).resolve().parents[2]
API_NAME: Final = "chain-analytics"
MONTHLY_QUOTA: Final = 10_000
RESERVED: Final = 3_000
OPERATIONS: Final = (
    "GET /v1/blocks/latest",
    "GET /v1/blocks/{number}",
    "GET /v1/addresses/{address}/balances",
    "POST /v1/balances/search",
)
_ADDRESS: Final = {
    "type": "string",
    "pattern": "^0x[0-9a-fA-F]{40}$",
    "description": "an account or a contract",
    "example": "0x" + 40 * "1",
}
_BALANCES: Final = {"wei": "10000000000000000000000", "usdc": "1000000"}
_BLOCK: Final = {"number": 1, "hash": "0x" + 64 * "0", "timestamp": 1793556515, "transactions": 0}


def _describe(
    summary: str, example: Mapping[str, Any], path: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    answer = {"content": {"application/json": {"example": example}}, "description": summary}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in (path or {}).items()
    ]
    return {"summary": summary, "parameters": parameters, "responses": {"200": answer}}


_SEARCHED: Final = {
    "type": "object",
    "required": ["addresses"],
    "properties": {"addresses": {"type": "array", "maxItems": 100, "items": _ADDRESS}},
}
OPENAPI: Final[Mapping[str, Any]] = {
    "openapi": "3.1.0",
    "info": {"title": "Chain analytics", "version": "1"},
    "paths": {
        "/v1/blocks/latest": {"get": _describe("The newest block", _BLOCK)},
        "/v1/blocks/{number}": {
            "get": _describe(
                "A block by its number", _BLOCK, {"number": {"type": "integer", "minimum": 0}}
            )
        },
        "/v1/addresses/{address}/balances": {
            "get": _describe(
                "What an address has, in wei and 1e-6 USDC",
                {"address": "0x" + 40 * "1", "balances": _BALANCES},
                {"address": _ADDRESS},
            )
        },
        "/v1/balances/search": {
            "post": {
                **_describe("What several addresses have", {"balances": [_BALANCES]}),
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _SEARCHED}},
                },
            }
        },
    },
}
"""What a stranger's agent reads in the catalogue: how each call is made."""


class NodeFacts:
    """Asks a node."""

    def __init__(self, web3: Web3, usdc: str) -> None:
        self._web3 = web3
        self._usdc = to_checksum_address(usdc)

    def find_block(self, number: int | None) -> Mapping[str, Any] | None:
        """Return a block; None where the chain is shorter."""
        try:
            block = self._web3.eth.get_block("latest" if number is None else number)
        except BlockNotFound:
            return None
        return {
            "number": block["number"],
            "hash": block["hash"].to_0x_hex(),
            "timestamp": block["timestamp"],
            "transactions": len(block["transactions"]),
        }

    def find_balances(self, address: str) -> Mapping[str, str]:
        """Return what an address has, in wei and 1e-6 USDC."""
        if not is_address(address):
            return {}
        owner = to_checksum_address(address)
        balance_of = "0x70a08231" + owner[2:].lower().rjust(64, "0")
        data: Any = {"to": self._usdc, "data": balance_of}
        usdc = int.from_bytes(self._web3.eth.call(data), "big")
        return {"wei": str(self._web3.eth.get_balance(owner)), "usdc": str(usdc)}


def start_api(stack: Stack, *, common: Mapping[str, str], restart: bool) -> tuple[str, str]:
    """Start the API over the devnet's chain; return its URL and its key."""
    key_file = stack.directory.path / "analytics_key"
    if not key_file.exists():
        keep_secret(key_file, "ak_" + secrets.token_hex(24))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    stack.start(
        "analytics",
        [
            *(sys.executable, "-m", "scripts.stack.devnet_api", "--port", str(port)),
            *("--rpc-url", common["MARKET_RPC_URL"]),
            *("--deployment-file", common["MARKET_DEPLOYMENT_FILE"]),
            *("--key-file", str(key_file)),
        ],
        ready=lambda: answers_well(f"{url}/healthz"),
        cwd=ROOT,
        usual_s=3,
        restart=restart,
    )
    return url, key_file.read_text(encoding="ascii").strip()


def connect_api(client: httpx.Client, *, url: str, api_key: str) -> None:
    """Put the API's unused quota on sale by the seller's client, or say where it is this time."""
    path = "/v1/seller/connections"
    listed = client.get(path)
    listed.raise_for_status()
    known = {one["name"]: one for one in listed.json()["connections"]}
    if API_NAME in known:
        change = {"base_url": url, "api_key": api_key, "openapi": OPENAPI}
        client.patch(f"{path}/{known[API_NAME]['id']}", json=change).raise_for_status()
        return
    body = {
        "name": API_NAME,
        "api_key": api_key,
        "base_url": url,
        "credential": f"header: {KEY_HEADER}",
        "operations": list(OPERATIONS),
        "openapi": OPENAPI,
        "monthly_quota": MONTHLY_QUOTA,
        "reserved": RESERVED,
        "remaining_header": REMAINING_HEADER,
        "subscription_usd": "500",
        "description": "Blocks and balances of this chain",
    }
    client.post(path, json=body).raise_for_status()


@command("analytics")
@click.option("--port", type=click.IntRange(1, 65_535), required=True, help="Where to listen.")
@click.option("--rpc-url", required=True, help="The chain's node.")
@click.option(
    "--deployment-file",
    type=click.Path(path_type=Path),
    required=True,
    help="The record of the contracts.",
)
@click.option(
    "--key-file", type=click.Path(path_type=Path), required=True, help="The API's only key."
)
def main(port: int, rpc_url: str, deployment_file: Path, key_file: Path) -> None:
    """Serve a small analytics API over a chain, with a key and a quota, until stopped."""
    facts = NodeFacts(open_web3(rpc_url), load_deployment(deployment_file).usdc)
    app = create_analytics(
        facts,
        api_key=key_file.read_text(encoding="ascii").strip(),
        quota=ApiQuota(MONTHLY_QUOTA),
    )
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
