"""Whose endpoint an offer's is, by its host alone. Pure.

A seller may call an endpoint what it likes; that decides nothing. The provider of an offer is found
from the host of its base URL, which the market calls over TLS: a host of the operator's table has
the name that the table gives it, any other host is called by its registrable name, such as
``example.com`` or ``example.co.uk``. A name of the table has no dot and no colon and the name of a
host has one at least, so no host is ever called by a name of the table.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

_SECOND_LEVELS: Final = frozenset(
    {"ac", "co", "com", "edu", "go", "gob", "gov", "gv", "ltd", "mil", "ne", "net", "nom", "or"}
    | {"org", "plc", "sch"}
)
"""Labels below which countries register names: ``example.co.uk``, not ``co.uk``."""


@dataclass(frozen=True, slots=True)
class ProviderNames:
    """The operator's table of hosts."""

    hosts: Mapping[str, str] = field(default_factory=dict)
    """Provider names by host, in lower case; ``*.example.com`` stands for all hosts below it."""
    shared: Sequence[str] = ()
    """Domains whose names belong to different people each, such as ``github.io``: a host below one
    is called by its whole name."""

    def find_provider(self, base_url: str) -> str:
        """Return the name of the provider whose endpoint is at a base URL, in lower case."""
        host = self.find_host(base_url)
        return self.hosts.get(host, host)

    def find_host(self, base_url: str) -> str:
        """Return the host of a base URL as everybody may know it: as the table writes it, or by its
        registrable name. What stands before that may be known to its seller alone."""
        host = (urlsplit(base_url).hostname or "").lower().rstrip(".")
        if host in self.hosts:
            return host
        labels = host.split(".")
        for place in range(1, len(labels)):
            pattern = "*." + ".".join(labels[place:])
            if pattern in self.hosts:
                return pattern
        return _name_host(host, labels, self.shared)


def _name_host(host: str, labels: list[str], shared: Sequence[str]) -> str:
    if _is_address(host):
        return host
    if len(labels) == 1:
        # A name without a dot could be one of the table's.
        return f"{host}."
    for suffix in shared:
        if host.endswith(f".{suffix}"):
            return host
    is_country = len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVELS
    return ".".join(labels[-3 if is_country else -2 :])


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
