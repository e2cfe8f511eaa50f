"""What a provider sends below HTTP: bytes of its own, as no server library would send them."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

Play = Callable[[asyncio.StreamWriter], Awaitable[None]]

CHOICE: Final = {"index": 0, "message": {"role": "assistant", "content": "Hello!"}}
CHUNK: Final = {"choices": [{"index": 0, "delta": {"content": "Hello! "}}]}
USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22}


def event(data: Any) -> bytes:
    """Return an event of a stream."""
    return b"data: " + json.dumps(data).encode() + b"\n\n"


LAST: Final = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
USED: Final = event({"choices": [], "usage": USAGE})
DONE: Final = b"data: [DONE]\n\n"


def answer(
    body: bytes = b"", status: str = "200 OK", kind: str = "application/json", more: str = ""
) -> bytes:
    """Return a whole answer, whose connection is over after it."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
    return (head + more + "connection: close\r\n\r\n").encode() + body


def stream(more: str = "") -> bytes:
    """Return how a stream begins."""
    kind = "content-type: text/event-stream\r\n"
    return f"HTTP/1.1 200 OK\r\n{kind}{more}connection: close\r\n\r\n".encode()


def say(*pieces: bytes, pause_s: float = 0.0) -> Play:
    """Send these and close."""

    async def play(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return play


def repeat(first: bytes, piece: bytes, *, pause_s: float = 0.0) -> Play:
    """Send ``first``, then ``piece`` for ever."""

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return play


def hang(first: bytes = b"") -> Play:
    """Send ``first`` and no more."""

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await writer.drain()
        await asyncio.sleep(3_600)

    return play


_BOMB: Final = gzip.compress(b" " * 50_000_000)
_ANSWER: Final = json.dumps({"choices": [CHOICE], "usage": USAGE}).encode()

NO_ANSWERS: Final[Mapping[str, Play]] = {
    "endless headers": repeat(b"HTTP/1.1 200 OK\r\n", b"x-more: " + b"y" * 1_000 + b"\r\n"),
    "a header without end": repeat(b"HTTP/1.1 200 OK\r\nx-more: ", b"y" * 10_000),
    "early hints for ever": repeat(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100),
    "continue for ever": repeat(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.05),
    "headers drop by drop": repeat(b"HTTP/1.1 200 OK\r\n", b"x", pause_s=0.05),
    "nothing at all": hang(),
    "silence after the head": hang(answer(b"")[:-20]),
    "silence in the body": hang(stream("content-length: 900\r\n")[:-2] + b"\r\n" + b'{"choices'),
    "a gigabyte": repeat(answer(b"")[:0] + b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n"
                         b"content-type: application/json\r\n\r\n", b" " * 65_536),
    "chunks for ever": repeat(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"
                              b"content-type: application/json\r\n\r\n", b"4\r\n    \r\n" * 1_000),
    "a bomb": say(answer(_BOMB, more="content-encoding: gzip\r\n")),
    "a gigabyte of error": repeat(b"HTTP/1.1 500 No\r\ncontent-length: 1073741824\r\n\r\n",
                                  b" " * 65_536),
    "another protocol": say(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n"
                            b"connection: upgrade\r\n\r\n" + _ANSWER),
    "no content": say(answer(b"", "204 No Content")),
    "a part": say(answer(_ANSWER, "206 Partial Content")),
    "status 999": say(answer(_ANSWER, "999 What")),
    "no status": say(answer(_ANSWER, "abc")),
    "no protocol": say(_ANSWER),
    "two lengths": say(answer(_ANSWER, more="content-length: 3\r\n")),
    "a length below zero": say(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n" + _ANSWER),
    "half a body": say(answer(_ANSWER)[:-10]),
    "a redirect inwards": say(answer(b"", "307 No", more="location: http://127.0.0.1:22/\r\n")),
    "other letters": say(answer(b'{"choices": [{"message": {"content": "\xff\xfe"}}]}')),
    "deep": say(answer(b"[" * 100_000 + b"]" * 100_000)),
    "more after the end": say(answer(_ANSWER + b"trailing")),
    "a page": say(answer(b"<html></html>", kind="text/html")),
    "an answer a year from now": say(answer(b"{}", "429 No", more="retry-after: 31536000\r\n")),
    "an odd time to retry": say(answer(b"{}", "429 No", more="retry-after: 1e400\r\n")),
}  # fmt: skip
"""By name, what is no answer to a request for a whole one."""

ODD_ANSWERS: Final[Mapping[str, Play]] = {
    "half a pair": say(answer(_ANSWER.replace(b"Hello!", b"Hel\\ud800"))),
    "no number": say(answer(_ANSWER.replace(b'"total_tokens": 22', b'"total_tokens": NaN'))),
    "a byte order mark": say(answer(b"\xef\xbb\xbf" + _ANSWER)),
    "a raw line break": say(answer(_ANSWER.replace(b"Hello!", b"Hel\nlo"))),
}  # fmt: skip
"""By name, an answer in JSON that only lenient clients read."""

NO_STREAMS: Final[Mapping[str, Play]] = {
    "comments for ever": repeat(stream(), b": still here\n\n", pause_s=0.05),
    "the end at once": say(stream(), DONE),
    "an empty event": say(stream(), event({}), DONE),
    "no event": say(stream()),
    # A whole completion instead of a stream is no fault: it is told as a stream.
    "a stream that is none": say(answer(b'{"object": "list", "data": []}')),
    "an event without end": repeat(stream() + b"data: ", b"x" * 65_536),
    "other letters": say(stream(), b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n'),
    "packed": say(stream("content-encoding: gzip\r\n"), gzip.compress(event(CHUNK))),
    "an error": say(stream(), event({"error": {"message": "no"}})),
    "no objects": say(stream(), event([1]), DONE),
    "hints for ever": repeat(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", pause_s=0.02),
    "half a head": hang(stream()[:-2]),
}
"""What is no stream, and is known to be none before a buyer has seen anything of it."""
