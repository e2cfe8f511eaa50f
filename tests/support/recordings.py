"""Recordings to be transcribed."""

import io
import wave

RATE_HZ = 8_000


def make_wav(seconds: float) -> bytes:
    """Return a recording of silence."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(b"\0\0" * int(RATE_HZ * seconds))
    return stream.getvalue()
