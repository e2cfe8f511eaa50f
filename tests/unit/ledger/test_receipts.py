"""``ledger.spending.receipts``: every leaf proves itself, and nothing else does."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.spending.receipts import Receipt, build_proof, build_root, is_proof_valid

LEAVES = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40, unique=True)
RECEIPT = Receipt("request", 0, 1, "model", 2, 3, 4, 5, 6, 7, 8, 9)


@given(LEAVES)
def test_proof__of_each_leaf__leads_to_the_root(leaves: list[bytes]) -> None:
    root = build_root(leaves)
    for index, leaf in enumerate(leaves):
        assert is_proof_valid(leaf, build_proof(leaves, index), root)


@given(LEAVES, st.binary(min_size=32, max_size=32))
def test_proof__of_another_leaf__does_not(leaves: list[bytes], other: bytes) -> None:
    if other not in leaves:
        assert not is_proof_valid(other, build_proof(leaves, 0), build_root(leaves))


@pytest.mark.parametrize("name", [field.name for field in fields(Receipt)])
def test_leaf__any_field_changed__is_another(name: str) -> None:
    value = getattr(RECEIPT, name)
    changed: dict[str, Any] = {name: value + "x" if isinstance(value, str) else value + 1}
    assert replace(RECEIPT, **changed).leaf() != RECEIPT.leaf()


def test_build_root__no_leaf__refused() -> None:
    with pytest.raises(ValueError, match="no root"):
        build_root([])
    with pytest.raises(IndexError):
        build_proof([b"\x00" * 32], 1)
