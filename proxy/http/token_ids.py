"""Token ids as requests state them."""

import re
from typing import Final

from proxy.keys.tokens import INTEGER_MAX

_TOKEN_ID: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def parse_token_id(value: object) -> int:
    """Return a token id given as a canonical decimal string or as a number.

    Raises ``ValueError``.
    """
    if isinstance(value, str) and _TOKEN_ID.fullmatch(value) is not None:
        value = int(value)
    if type(value) is not int or not 0 <= value <= INTEGER_MAX:
        raise ValueError("must be a token id: a whole number, as a string or a number")
    return value
