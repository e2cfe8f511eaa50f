"""A local chain behind a node that shows it as one of Base does, over HTTP.

::

    a block → begins with its deposit, also where nobody sent anything; as many receipts
    a receipt → after the deposit, an L1 fee; at first of a block that is not sealed
    a batch, an error, anvil's own methods, what is no request
    the chain has no blocks for minutes → nothing is safe or finalized
    there is no chain → an error of JSON-RPC
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from scripts.stack.base_like import FINALIZED_BLOCKS, SAFE_BLOCKS, BaseLike
from scripts.stack.base_node import HOST, AskedChain, build_server
from scripts.stack.ports import free_port
from tests.support.anvil import Anvil

PAYER, PAYEE = "0x" + "a1" * 20, "0x" + "b2" * 20


@contextmanager
def serving(chain_url: str) -> Iterator[str]:
    """Serve a chain like a node of Base's; yield the node's URL."""
    chain = AskedChain(chain_url)
    server = build_server(BaseLike(chain.ask, preconfirmations=1, l1_fee_wei=77), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        chain.close()


@pytest.fixture(scope="module")
def anvil() -> Iterator[Anvil]:
    with Anvil() as anvil:
        anvil.fund(PAYER)
        anvil.request("anvil_impersonateAccount", PAYER)
        yield anvil


@pytest.fixture(scope="module")
def url(anvil: Anvil) -> Iterator[str]:
    with serving(anvil.url) as url:
        yield url


def post(url: str, body: Any) -> Any:
    return httpx.post(url, json=body, trust_env=False).raise_for_status().json()


def ask(url: str, method: str, *params: Any) -> Any:
    return post(url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})["result"]


def pay(url: str) -> str:
    """Send a transfer through the node; return its hash."""
    return str(ask(url, "eth_sendTransaction", {"from": PAYER, "to": PAYEE, "value": "0x1"}))


def test_block__nobody_sent_anything__has_its_deposit_and_a_receipt(url: str) -> None:
    ask(url, "evm_mine")
    block = ask(url, "eth_getBlockByNumber", "latest", False)

    for place in (block["number"], block["hash"]):
        (receipt,) = ask(url, "eth_getBlockReceipts", place)
        assert [receipt["transactionHash"]] == block["transactions"]
        assert (receipt["type"], receipt["blockHash"]) == ("0x7e", block["hash"])
    assert ask(url, "eth_getBlockByNumber", "0x0", False)["transactions"] == []
    assert ask(url, "eth_getBlockReceipts", "0x0") == []
    assert ask(url, "eth_getBlockReceipts", "0xffffff") is None


def test_block__a_transfer__comes_after_the_deposit_everywhere(url: str) -> None:
    tx_hash = pay(url)
    block = ask(url, "eth_getBlockByNumber", "latest", True)

    deposit, transfer = block["transactions"]
    assert (deposit["type"], deposit["transactionIndex"]) == ("0x7e", "0x0")
    assert (transfer["hash"], transfer["transactionIndex"]) == (tx_hash, "0x1")
    assert ask(url, "eth_getTransactionByHash", tx_hash)["transactionIndex"] == "0x1"
    of_block = ask(url, "eth_getBlockReceipts", block["number"])
    assert [one["transactionHash"] for one in of_block] == [deposit["hash"], tx_hash]


def test_receipt__just_mined__is_of_no_block_once_and_tells_the_fee(url: str) -> None:
    tx_hash = pay(url)

    first = ask(url, "eth_getTransactionReceipt", tx_hash)
    then = ask(url, "eth_getTransactionReceipt", tx_hash)

    assert ask(url, "eth_getBlockByHash", first["blockHash"], False) is None
    assert ask(url, "eth_getBlockByHash", then["blockHash"], False)["number"] == then["blockNumber"]
    assert (first["status"], then["l1Fee"], then["transactionIndex"]) == ("0x1", "0x4d", "0x1")


def test_batch__one_of_it_fails__has_the_chains_own_error_beside_the_answers(
    url: str, anvil: Anvil
) -> None:
    calls = [
        {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": "b", "method": "eth_nothing", "params": []},
        "no request",
    ]

    right, wrong, none = post(url, calls)

    assert right == {"jsonrpc": "2.0", "id": "a", "result": hex(31337)}
    assert wrong == post(anvil.url, calls[1])
    assert none["error"]["code"] == -32600
    assert httpx.post(url, content=b"{", trust_env=False).json()["error"]["code"] == -32700


def test_blocks__safe_and_finalized__are_minutes_behind() -> None:
    head = 0

    def answer(method: str, params: list[Any]) -> Any:
        if method == "eth_blockNumber":
            return hex(head)
        assert method == "eth_getBlockByNumber"
        return {"number": params[0], "hash": "0x" + "c3" * 32, "transactions": []}

    node = BaseLike(answer)

    def find(tag: str) -> int | None:
        block = node.request("eth_getBlockByNumber", [tag, False])
        return None if block is None else int(block["number"], 16)

    head = SAFE_BLOCKS - 1
    assert (find("safe"), find("finalized")) == (None, None)
    head = FINALIZED_BLOCKS + 1
    assert (find("safe"), find("finalized")) == (FINALIZED_BLOCKS + 1 - SAFE_BLOCKS, 1)


def test_node__without_a_chain__answers_with_an_error() -> None:
    with serving(f"http://{HOST}:{free_port()}") as url:
        answer = post(url, {"jsonrpc": "2.0", "id": 5, "method": "eth_chainId", "params": []})

    assert answer["id"] == 5
    assert answer["error"]["message"] == "the chain did not answer: ConnectError"
