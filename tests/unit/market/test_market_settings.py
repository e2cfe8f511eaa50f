"""Settings of the market that must agree with each other."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.market import make_settings

WAITS = {"whole_timeout_s": 300.0, "ledger_timeout_s": 60.0}


def test_lease__shorter_than_a_message_asked_twice__is_refused(tmp_path: Path) -> None:
    assert make_settings(tmp_path, **WAITS, lease_s=690).lease_s == 690
    with pytest.raises(ValidationError, match=r"must be at least 690\.0: 2 \* whole_timeout_s"):
        make_settings(tmp_path, **WAITS, lease_s=689)
