"""The form of an idempotency key."""

import pytest

from serving.http.errors import ApiError
from serving.http.idempotency_header import check_idempotency_key


@pytest.mark.parametrize("key", ["k", "a b", "é" * 200])
def test_check__printable_and_short__returned(key: str) -> None:
    assert check_idempotency_key(key) == key


@pytest.mark.parametrize("key", ["", "a" * 201, "a\tb", "a\x00", "\u2028"])
def test_check__empty_long_or_unprintable__400(key: str) -> None:
    with pytest.raises(ApiError, match="1 to 200 printable characters") as caught:
        check_idempotency_key(key)
    assert (caught.value.status, caught.value.code) == (400, "invalid_idempotency_key")
