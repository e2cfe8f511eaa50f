"""``ledger.spending.receipts``: every leaf proves itself, and nothing else does."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.spending.receipts import (
    Receipt,
    ServedLeaf,
    ServedNote,
    build_proof,
    build_root,
    commit_seller,
    is_proof_valid,
    read_served_note,
)

LEAVES = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40, unique=True)
RECEIPT = Receipt("request", 0, 1, "model", 2, 3, 4, 5, 6, 7, 8, 9)
NOTE = ServedNote(
    seller="0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
    seller_salt="ab" * 32,
    offer_id="of_1",
    host="api.openai.com",
    model="gpt-4o-2024-08-06",
    grade="A",
)
FIGURES = [field.name for field in fields(Receipt) if field.name != "served"]


@given(LEAVES)
def test_proof__of_each_leaf__leads_to_the_root(leaves: list[bytes]) -> None:
    root = build_root(leaves)
    for index, leaf in enumerate(leaves):
        assert is_proof_valid(leaf, build_proof(leaves, index), root)


@given(LEAVES, st.binary(min_size=32, max_size=32))
def test_proof__of_another_leaf__does_not(leaves: list[bytes], other: bytes) -> None:
    if other not in leaves:
        assert not is_proof_valid(other, build_proof(leaves, 0), build_root(leaves))


def test_leaf__both_versions__are_those_that_the_pages_compute() -> None:
    receipt = Receipt("r", 0, 0, "m", 1, 0, 2, 3, 3, 4, 5, 6)

    # What web/tests/usage.test.ts has, too.
    assert receipt.leaf().hex() == (
        "a17ab3dbaa294365f07c2b16abc420f4aec5a6466d3904a5d9814a21b229a10d"
    )
    assert replace(receipt, served=NOTE.close()).leaf().hex() == (
        "33c100e387738ddde4eb0f165b593682ca2ec7fa5546b1a147c83c3f80112f0a"
    )


def test_note__kept_and_read__is_the_same_and_older_usage_has_none() -> None:
    assert read_served_note(NOTE.write()) == NOTE
    assert read_served_note(None) is None
    assert (RECEIPT.version, replace(RECEIPT, served=NOTE.close()).version) == (1, 2)


def test_commitment__another_seller_or_salt__is_another() -> None:
    known = NOTE.close().seller_commitment
    salt = bytes.fromhex(NOTE.seller_salt)

    assert commit_seller(NOTE.seller, salt) == known
    assert commit_seller(NOTE.seller + "0", salt) != known
    assert commit_seller(NOTE.seller, bytes(32)) != known


@pytest.mark.parametrize(
    "changes",
    [
        {"seller_commitment": bytes(32)},
        {"offer_id": "of_2"},
        {"host": "evil.example"},
        {"model": "gpt-4o-mini"},
        {"grade": "B"},
        {"paid_by": "credit"},
    ],
)
def test_leaf_2__any_field_changed__is_another(changes: dict[str, Any]) -> None:
    served: ServedLeaf = NOTE.close()
    receipt = replace(RECEIPT, served=served)

    assert replace(RECEIPT, served=replace(served, **changes)).leaf() != receipt.leaf()


@pytest.mark.parametrize("name", FIGURES)
def test_leaf__any_field_changed__is_another(name: str) -> None:
    value = getattr(RECEIPT, name)
    changed: dict[str, Any] = {name: value + "x" if isinstance(value, str) else value + 1}
    assert replace(RECEIPT, **changed).leaf() != RECEIPT.leaf()
    served = replace(RECEIPT, served=NOTE.close())
    assert replace(served, **changed).leaf() != served.leaf()


def test_build_root__no_leaf__refused() -> None:
    with pytest.raises(ValueError, match="no root"):
        build_root([])
    with pytest.raises(IndexError):
        build_proof([b"\x00" * 32], 1)
