"""A host's clock that a test sets."""

import time


class HostClock:
    """The wall clock, ``ahead_s`` seconds ahead of the real one."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def __call__(self) -> float:
        return time.time() + self.ahead_s
