"""``contracts.events``: the table of layouts is the exported ABI's, and decodes what it encodes."""

from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.bindings import load_abi
from contracts.events import (
    EVENTS,
    ChainEvent,
    EventSpec,
    UnknownEvent,
    cut_log,
    decode_args,
    decode_words,
    encode_words,
)
from tests.support.examples import examples

ABI_NAMES = {
    "position": "YieldFundedPosition",
    "adapter": "LendingYieldAdapter",
    "payouts": "Payouts",
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "address": st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
    "bytes32": st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex()),
    "bool": st.booleans(),
    "uint8": st.integers(0, 2**8 - 1),
    "uint16": st.integers(0, 2**16 - 1),
    "uint256": st.integers(0, 2**256 - 1),
}


@pytest.mark.parametrize("contract", ABI_NAMES)
def test_events__each_contract__same_layout_as_its_abi(contract: str) -> None:
    exported = {
        entry["name"]: [(i["name"], i["type"], i["indexed"]) for i in entry["inputs"]]
        for entry in load_abi(ABI_NAMES[contract])
        if entry["type"] == "event"
    }
    ours = {
        spec.name: [(field.name, field.type, field.indexed) for field in spec.fields]
        for spec in EVENTS
        if spec.contract == contract
    }
    assert ours == exported


def encoded(spec: EventSpec, args: dict[str, Any]) -> tuple[list[str], str]:
    def word(type_: str, value: Any) -> bytes:
        raw = bytes.fromhex(value[2:]) if type_ == "bytes32" else value
        return encode([type_], [raw])

    topics = [spec.topic0]
    data = b""
    for field in spec.fields:
        raw = word(field.type, args[field.name])
        if field.indexed:
            topics.append("0x" + raw.hex())
        else:
            data += raw
    return topics, "0x" + data.hex()


@given(data=st.data())
@settings(max_examples=examples(200), deadline=None)
def test_decode_args__anything_eth_abi_encodes__comes_back(data: st.DataObject) -> None:
    spec = data.draw(st.sampled_from(EVENTS))
    args = {field.name: data.draw(VALUES[field.type]) for field in spec.fields}
    topics, body = encoded(spec, args)
    assert decode_args(spec.contract, topics, body) == (spec, args)
    # The words that are stored are the log's own, and make the same event again.
    event = ChainEvent(spec.contract, spec.name, args, 1, "0x01", 2, "0x02", 3)
    _, words = cut_log(spec.contract, topics, body)
    assert encode_words(event) == words
    assert words.hex() == "".join(topic[2:] for topic in topics[1:]) + body[2:]
    assert decode_words(spec.contract, spec.name, words) == args


def test_decode_args__unknown_topic_or_bad_length__raises() -> None:
    spec = EVENTS[0]
    topics, body = encoded(
        spec, {"sender": "0x" + "00" * 20, "receiver": "0x" + "11" * 20, "tokenId": 0}
    )
    for bad_topics, bad_body in (
        ([], body),
        (["0x" + "00" * 32], body),
        (topics[:-1], body),
        (topics, body + "00"),
        ([*topics[:-1], "0x" + "zz" * 32], body),
    ):
        with pytest.raises(UnknownEvent):
            decode_args(spec.contract, bad_topics, bad_body)
