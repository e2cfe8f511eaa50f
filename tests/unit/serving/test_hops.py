"""How many servers a request has passed."""

from contextvars import copy_context

import pytest

from serving.process.hops import HOPS_MAX, is_first, note_hops, read_hops, write_hops


@pytest.mark.parametrize(("text", "hops"), [(None, 0), ("0", 0), ("1", 1), ("3", 3)])
def test_read_hops__within_bounds__the_number(text: str | None, hops: int) -> None:
    assert read_hops(text) == hops


@pytest.mark.parametrize("text", ["4", "999", "1000", "-1", "", " ", "1,1", "x", "٣", "1.0"])
def test_read_hops__too_many_or_unreadable__refused(text: str) -> None:
    assert read_hops(text) == HOPS_MAX


def test_write_hops__counts_this_server__and_ends() -> None:
    def pass_on(text: str | None) -> str:
        note_hops(read_hops(text))
        return write_hops()

    said: str | None = None
    passed = 0
    while read_hops(said) < HOPS_MAX:
        said = copy_context().run(pass_on, said)
        passed += 1

    assert passed == HOPS_MAX
    assert copy_context().run(write_hops) == "1"  # outside of a request


@pytest.mark.parametrize(("passed", "first"), [(0, True), (1, False), (3, False)])
def test_is_first__no_server_before__it_is(passed: int, first: bool) -> None:
    def ask() -> bool:
        note_hops(passed)
        return is_first()

    assert copy_context().run(ask) is first
