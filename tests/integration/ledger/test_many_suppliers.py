"""The settlement's bench in small: the ledger that it fills holds the invariants, and each supplier
is paid once, on both databases."""

from pathlib import Path

import pytest

from bench.settlement.main import measure
from tests.support.ledgers import BOTH


@pytest.mark.parametrize("kind", BOTH)
def test_settlement__of_many_suppliers__pays_each_once(kind: str, tmp_path: Path) -> None:
    found = measure(kind, tmp_path, suppliers=20, sales=400)

    assert found["again_s"] < found["filled_s"]
