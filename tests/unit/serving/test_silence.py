"""Connections that say nothing: the one that is silent for longest makes room."""

from serving.http.silence import SilentConnections


def fill(silent: SilentConnections, address: str, count: int, closed: list[str]) -> None:
    for number in range(count):
        name = f"{address}/{number}"
        silent.add(name, address, lambda name=name: closed.append(name))  # type: ignore[misc]


def test_add__one_address_has_too_many__its_own_oldest_are_closed() -> None:
    silent, closed = SilentConnections(8, is_exempt=lambda _: False), list[str]()
    fill(silent, "honest", 1, closed)
    fill(silent, "silent", 5, closed)

    assert closed == ["silent/0", "silent/1", "silent/2"]
    assert silent.count == 3


def test_add__many_addresses__the_oldest_of_all_is_closed() -> None:
    silent, closed = SilentConnections(4, is_exempt=lambda _: False), list[str]()
    for number in range(6):
        fill(silent, f"a{number}", 1, closed)

    assert closed == ["a0/0", "a1/0"]


def test_add__trusted_proxy__may_have_all() -> None:
    silent, closed = SilentConnections(8, is_exempt=lambda address: address == "p"), list[str]()
    fill(silent, "p", 8, closed)
    assert closed == []
    fill(silent, "p2", 1, closed)
    assert closed == ["p/0"]


def test_remove__asked_something__is_closed_no_more() -> None:
    silent, closed = SilentConnections(4, is_exempt=lambda _: False), list[str]()
    fill(silent, "a", 1, closed)
    silent.remove("a/0")
    silent.remove("a/0")
    fill(silent, "b", 1, closed)
    assert (closed, silent.count) == ([], 1)


def test_add__addresses_of_one_ipv6_network__count_as_one() -> None:
    silent, closed = SilentConnections(8, is_exempt=lambda _: False), list[str]()
    for number in range(4):
        fill(silent, f"2001:db8::{number}", 1, closed)

    assert closed == ["2001:db8::0/0", "2001:db8::1/0"]
