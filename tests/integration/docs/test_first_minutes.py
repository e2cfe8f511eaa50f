"""The first ten minutes of every reader: the commands of `docs/start`, run as they stand.

One local stack serves all pages. A page's blocks run in one shell, in the order of the page; what a
reader fills in, and where things are, is said in ``Stand.filled_in``. What no test can run is in
``NOT_RUN``, with the reason: a page that gains a command is walked, or named there.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from web3.types import RPCEndpoint

from contracts.units import USDC_ONE
from scripts.stack.analytics import KEY_HEADER
from scripts.stack.anvil_path import ROOT
from scripts.stack.devnet import Devnet, issue_key, start_devnet, wait_for
from scripts.stack.devnet_api import API_NAME, OPERATIONS
from scripts.stack.model import MODEL_ID
from scripts.stack.processes import Stack
from scripts.stack.run_directory import temporary_run_directory
from scripts.stack.up import TOKEN_ID, prepare_position
from tests.support.documents import find_document, load_documents
from tests.support.waiting import wait_until

NOT_RUN: Final = {
    "make demo": "tests/e2e/test_demo.py runs it: a stack of its own, for minutes",
    "make test": "this is what runs",
}
WALKED: Final = ("buyer", "seller", "api-owner", "auditor", "operator", "depositor")
"""In an order in which each has what it needs: the depositor ends all keys."""
WITHOUT_BLOCKS: Final = {
    "supplier": "its steps are links into docs/suppliers.md, which test_suppliers.py follows",
    "contributor": "make demo and make test, which are in NOT_RUN",
}
LIMIT_S: Final = 600
BLOCKS_TO_FINALITY: Final = 200
CURRENT: Final = """\
current() {
  case "$1" in
    # Nothing of the folder runs here: it finds that, and says so by its exit code.
    doctor) "$PYTHON" -m scripts.cli "$@" || [ $? -eq 1 ];;
    *) "$PYTHON" -m scripts.cli "$@";;
  esac
}
"""


def read_blocks(page: str, language: str) -> list[str]:
    """Return a page's fenced blocks of a language, without their indentation in a list."""
    text = find_document(f"docs/start/{page}.md").text
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.M | re.S)
    return [re.sub(f"^{indent}", "", block, flags=re.M) for indent, block in found]


def test_pages__every_one__is_walked_or_says_why_not() -> None:
    pages = {document.path.stem for document in load_documents() if "docs/start/" in document.name}
    assert pages == {*WALKED, *WITHOUT_BLOCKS}
    for page in pages:
        lines = [line for block in read_blocks(page, "sh") for line in block.splitlines()]
        run = [line for line in lines if line not in NOT_RUN]
        assert bool(run) == (page in WALKED), page
        assert [line for line in run if not line.startswith(("current ", "export "))] == []


@dataclass
class Stand:
    """A local stack, as `make up` leaves it, and a reader's folder."""

    devnet: Devnet
    stack: Stack
    folder: Path
    environment: dict[str, str]
    filled_in: dict[str, str] = field(default_factory=dict)

    def walk(self, page: str, blocks: slice = slice(None)) -> str:
        """Run a page's blocks; return what they say. Fails where one of them fails."""
        script = "\n".join(read_blocks(page, "sh")[blocks])
        for shown, real in self.filled_in.items():
            script = script.replace(shown, real)
        assert "…" not in script
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", CURRENT + script],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        said = ended.stdout + ended.stderr
        assert ended.returncode == 0, said
        return said


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder, notes = tmp_path_factory.mktemp("reader"), list[str]()
    with (
        temporary_run_directory("test", say=notes.append) as directory,
        Stack(directory, say=notes.append) as stack,
    ):
        devnet = start_devnet(stack, say=notes.append, persistent=False)
        api_key = prepare_position(devnet, stack, notes.append)
        record = str(directory.deployments / "31337.json")
        (folder / "wallet.key").write_text("0x" + devnet.depositor.key.hex())
        (folder / "root.key").write_text(api_key)
        receipt = _pay_for_one(devnet, stack, api_key)
        (folder / "receipt.json").write_text(receipt)
        (folder / "backups").mkdir()
        yield Stand(
            devnet,
            stack,
            folder,
            {
                "PYTHON": sys.executable,
                "PYTHONPATH": str(ROOT),
                "CURRENT_API_URL": devnet.api_url,
                "CURRENT_MARKET_URL": devnet.market_url,
                "CURRENT_RPC_URL": devnet.rpc_url,
                "CURRENT_DEPLOYMENT_FILE": record,
            },
            {
                "your-model": MODEL_ID,
                "https://api.provider.example/v1": devnet.model_url,
                "CURRENT_PROVIDER_KEY=…": "CURRENT_PROVIDER_KEY=a-key",
                "--ledger-url …": f"--ledger-url {devnet.ledger_url}",
                "https://…": devnet.rpc_url,
                "deployments/8453.json": record,
                "/etc/current": str(folder / "etc"),
                # The folder is of a host of its own, whose ledger this one would be.
                "--domain ai.example": f"--domain ai.example --ledger-url {devnet.ledger_url}",
            },
        )


def _pay_for_one(devnet: Devnet, stack: Stack, api_key: str) -> str:
    """Ask the model, and return the receipt once it is settled on chain."""
    headers = {"authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=devnet.api_url, headers=headers, timeout=170) as client:
        messages = [{"role": "user", "content": "Hello"}]
        body = {"model": MODEL_ID, "max_tokens": 8, "messages": messages}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        path = f"/receipts/{answer.headers['x-request-id']}"

        def find() -> str | None:
            shown = client.get(path)
            return shown.text if shown.json()["state"] == "settled" else None

        return str(wait_for("the settlement", find, stack))


@pytest.mark.slow
def test_buyer__pays_in_each_way(stand: Stand) -> None:
    said = stand.walk("buyer", slice(None, -1))
    assert "current_0_0_" in said
    assert (stand.folder / "market.key").read_text().strip()
    assert '"object":"chat.completion"' in said
    # The page says that a payment is final some minutes later.
    stand.devnet.web3.provider.make_request(RPCEndpoint("anvil_mine"), [hex(BLOCKS_TO_FINALITY)])
    wait_for("final payments", lambda: _is_withdrawable(stand), stand.stack)
    assert "0x" in stand.walk("buyer", slice(-1, None))


def _is_withdrawable(stand: Stand) -> bool:
    key = (stand.folder / "market.key").read_text().strip()
    headers = {"authorization": f"Bearer {key}"}
    url = f"{stand.devnet.market_url}/v1/buyer/withdrawals"
    account = httpx.get(url, headers=headers, timeout=60).json()
    return int(account["withdrawable_usdc"]) > USDC_ONE


@pytest.mark.slow
def test_seller__lists_a_model_and_sees_it(stand: Stand) -> None:
    said = stand.walk("seller")
    assert MODEL_ID in said
    assert (stand.folder / "seller.key").read_text().strip()


@pytest.mark.slow
def test_api_owner__puts_an_api_on_sale_and_takes_it_off(stand: Stand) -> None:
    """What the page calls Nansen is the stack's own API: that service is somebody else's."""
    (block,) = read_blocks("api-owner", "yaml")
    (entry,) = yaml.safe_load(block)["api_connections"]
    entry |= {"api_key": "your-nansen-key", **_describe_api(stand)}
    (stand.folder / "connections.yaml").write_text(yaml.safe_dump({"api_connections": [entry]}))

    said = stand.walk("api-owner")

    assert "nansen: enabled, calls at " in said
    assert "answered 200" in said
    assert "nansen: disabled" in said


def _describe_api(stand: Stand) -> dict[str, Any]:
    """Return where the stack's own API is, with its key, as its owner would write it."""
    key = (stand.devnet.directory.path / "analytics_key").read_text().strip()
    seller_key = (stand.devnet.directory.path / "market_seller_key").read_text().strip()
    listed = httpx.get(
        f"{stand.devnet.market_url}/v1/seller/connections",
        headers={"authorization": f"Bearer {seller_key}"},
        timeout=60,
    ).json()["connections"]
    (own,) = [one for one in listed if one["name"] == API_NAME]
    return {
        "base_url": own["base_url"],
        "api_key": key,
        "credential": f"header: {KEY_HEADER}",
        "operations": list(OPERATIONS),
    }


@pytest.mark.slow
def test_auditor__needs_nobodys_word(stand: Stand) -> None:
    said = stand.walk("auditor")
    assert "valid: settled in 0x" in said
    assert "hold: the ledger agrees with itself and the chain" in said


@pytest.mark.slow
def test_operator__makes_a_folder_and_asks_what_is_wrong(stand: Stand) -> None:
    said = stand.walk("operator")
    assert "Next, as root:" in said
    assert (stand.folder / "etc" / "secrets").is_dir()
    assert re.search(r"mend|->|→", said)


@pytest.mark.slow
def test_depositor__deposits_asks_and_takes_it_back(stand: Stand) -> None:
    api_key = issue_key(stand.devnet.api_url, stand.devnet.depositor, TOKEN_ID)

    stand.walk("depositor")

    adapter = stand.devnet.contracts.adapter.functions
    assert adapter.positionOf(TOKEN_ID).call()[1] == 0
    assert stand.devnet.contracts.position.functions.totalSupply().call() == 2
    headers = {"authorization": f"Bearer {api_key}"}

    def is_refused() -> bool:
        return httpx.get(f"{stand.devnet.api_url}/usage", headers=headers).status_code == 401

    wait_until(is_refused)
