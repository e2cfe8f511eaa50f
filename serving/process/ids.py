"""Ids of rows: requests, sales, offers, keys, payments, payouts.

They are made here and never taken from a client, so that none can collide or be replayed, and they
sort by age: what is newest stands together at the end of an index.
"""

import secrets
import time


def new_id() -> str:
    """Return a UUID of version 7: it begins with the time, in milliseconds."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(secrets.token_bytes(10), "big")
    value = (milliseconds & (2**48 - 1)) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
