"""How often an account or an address may try: counted in the ledger, for all processes.

What is counted by is a keyed digest, so that the table says of nobody that they tried.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection

from ledger.suppliers.throttles import forget_tries, take_try
from serving.http.errors import rate_limited


@dataclass(frozen=True, slots=True)
class TryLimit:
    """At most ``tries_max`` in ``window_s`` seconds."""

    name: str
    tries_max: int
    window_s: int


PAIR: Final = TryLimit("sign-in of an account from an address", 10, 900)
ACCOUNT: Final = TryLimit("sign-in of an account", 100, 900)
"""From all addresses together, but for the browsers that the account's owner is known by."""
BROWSER: Final = TryLimit("sign-in of an account from a known browser", 10, 900)
"""In place of the three others: whatever strangers try, its owner is not shut out."""
ADDRESS: Final = TryLimit("sign-in from an address", 100, 900)
CODE: Final = TryLimit("code or password of a session", 10, 900)
APPLY_MAIL: Final = TryLimit("application's mail to an address", 1, 3_600)
RESET_MAIL: Final = TryLimit("reset's mail to an address", 1, 3_600)
APPLY: Final = TryLimit("applications from an address", 30, 3_600)


class Tries:
    """Counts tries by keyed digests of what they concern."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def may(self, connection: Connection, limit: TryLimit, *who: str, now_s: int) -> bool:
        """Count a try; tell whether it may be made."""
        return self._take(connection, limit, who, now_s) is None

    def take(self, connection: Connection, limit: TryLimit, *who: str, now_s: int) -> None:
        """Count a try. Raises 429 where there were too many lately."""
        wait_s = self._take(connection, limit, who, now_s)
        if wait_s is not None:
            raise rate_limited(wait_s, "of this kind")

    def forget(self, connection: Connection, limit: TryLimit, *who: str) -> None:
        """Begin again: the last try was right."""
        forget_tries(connection, self._digest(limit, who))

    def _take(
        self, connection: Connection, limit: TryLimit, who: Sequence[str], now_s: int
    ) -> int | None:
        return take_try(
            connection,
            self._digest(limit, who),
            tries_max=limit.tries_max,
            window_s=limit.window_s,
            now_s=now_s,
        )

    def _digest(self, limit: TryLimit, who: Sequence[str]) -> str:
        said = "\0".join(("Current supplier tries v1", limit.name, *who)).encode()
        return hmac.digest(self._secret, said, sha256).hex()
