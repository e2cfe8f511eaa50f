"""The events of a stream so far, for a repeated request. Bounded."""


class SentEvents:
    """The events of a stream as its client gets them, up to a number of bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._left_bytes = bytes_max
        self._pieces: list[bytes] | None = []

    def add(self, piece: bytes) -> None:
        """Note the next bytes. Beyond the bound, nothing is kept."""
        if self._pieces is None:
            return
        self._left_bytes -= len(piece)
        if self._left_bytes < 0:
            self._pieces = None
        else:
            self._pieces.append(piece)

    def get(self) -> bytes | None:
        """Return all of it, or None where it was too much."""
        return None if self._pieces is None else b"".join(self._pieces)
