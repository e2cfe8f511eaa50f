"""The virus scanner by clamd's own protocol, against a daemon that misbehaves.

::

    answers   clean, or infected, also in pieces
    refuses   whatever else it says or does: nothing is taken without its word
    frees     a daemon that reads no more keeps nothing of the document
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from market.suppliers.virus_scanner import ClamdScanner, open_scanner
from serving.http.errors import TryLater
from tests.support.waiting import until

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
LONG = bytes(range(256)) * 1_024


def count_files() -> int:
    return len(os.listdir("/proc/self/fd"))


class Clamd:
    """A daemon that follows the protocol as clamd's manual has it, or does not.

    ``answers`` are sent one after the other, each on its own, once a whole stream has come;
    ``reads``: whether it reads at all; ``stream_max``: beyond it clamd answers and closes.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.answers: list[bytes] | None = None
        self.is_open_after = False
        self.reads = True
        self.stream_max = 25 * 1024**2
        self.got: list[bytes] = []
        self.open = 0
        self.over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            if not self.reads:
                await self.over.wait()
                return
            command = await reader.readuntil(b"\0")
            assert command == b"zINSTREAM\0", command
            data = bytearray()
            while size := int.from_bytes(await reader.readexactly(4), "big"):
                data += await reader.readexactly(size)
                if len(data) > self.stream_max:
                    writer.write(b"INSTREAM size limit exceeded. ERROR\0")
                    return
            self.got.append(bytes(data))
            found = b"stream: Win.Test.EICAR_HDB-1 FOUND\0" if EICAR in data else b"stream: OK\0"
            for piece in [found] if self.answers is None else self.answers:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if self.is_open_after:
                await self.over.wait()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@pytest.fixture
async def clamd() -> AsyncIterator[Clamd]:
    # The path of a socket is short: that of a test may be too long.
    with tempfile.TemporaryDirectory() as folder:
        daemon = Clamd(str(Path(folder) / "clamd.sock"))
        server = await asyncio.start_unix_server(daemon.serve, daemon.path)
        yield daemon
        daemon.over.set()
        server.close()
        await until(lambda: daemon.open == 0, "every connection is over")


# ------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4", LONG])
async def test_is_clean__nothing_found__yes_and_it_had_every_byte(
    clamd: Clamd, data: bytes
) -> None:
    assert await ClamdScanner(clamd.path).is_clean(data)
    assert clamd.got == [data]


async def test_is_clean__a_virus_in_the_last_bytes__no(clamd: Clamd) -> None:
    assert not await ClamdScanner(clamd.path).is_clean(LONG + EICAR)


async def test_is_clean__answer_in_pieces_and_no_end_of_the_connection__is_read(
    clamd: Clamd,
) -> None:
    clamd.answers, clamd.is_open_after = [b"str", b"eam: O", b"K", b"\0"], True
    assert await ClamdScanner(clamd.path).is_clean(b"%PDF")
    clamd.answers = [b"stream: ", b"Eicar FOU", b"ND\0"]
    assert not await ClamdScanner(clamd.path).is_clean(b"%PDF")


# ------------------------------------------------------------------------------------------ refuses


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [b"stream: OK"],  # cut off: it could have become "OK, but"
        [b"\0"],
        [b"stream: lstat() failed: No such file or directory. ERROR\0"],
        [b"UNKNOWN COMMAND\0"],
        [b"OK\0"],
        [b"stream: OK FOUND maybe\0"],
        [b"x" * 100_000],
        [b"HTTP/1.1 200 OK\r\n\r\n"],
    ],
)
async def test_is_clean__what_is_no_answer__is_503(clamd: Clamd, answers: list[bytes]) -> None:
    clamd.answers = answers
    with pytest.raises(TryLater) as refused:
        await ClamdScanner(clamd.path).is_clean(b"%PDF")
    assert (refused.value.status, refused.value.code) == (503, "scanner_unavailable")


async def test_is_clean__document_above_the_daemons_limit__is_503(clamd: Clamd) -> None:
    clamd.stream_max = 1_000
    with pytest.raises(TryLater):
        await ClamdScanner(clamd.path).is_clean(LONG)


async def test_is_clean__no_daemon__is_503(tmp_path: Path) -> None:
    with pytest.raises(TryLater):
        await ClamdScanner(str(tmp_path / "nobody.sock")).is_clean(b"%PDF")


async def test_is_clean__silence__is_503_in_time(clamd: Clamd) -> None:
    clamd.answers, clamd.is_open_after = [], True
    with pytest.raises(TryLater):
        await ClamdScanner(clamd.path, timeout_s=0.2).is_clean(b"%PDF")


# -------------------------------------------------------------------------------------------- frees


async def test_is_clean__daemon_reads_nothing__is_503_and_nothing_is_kept(clamd: Clamd) -> None:
    clamd.reads = False
    before = count_files()
    with pytest.raises(TryLater):
        await ClamdScanner(clamd.path, timeout_s=0.2).is_clean(LONG * 40)
    # The daemon still has its end, with what it never reads.
    await until(lambda: count_files() <= before + 1, "our end is closed")
    assert clamd.open == 1


@pytest.mark.parametrize("location", ["", "on", "clamd", "clamd:", "clamd:relative", "tcp:/a"])
def test_open_scanner__what_is_no_place__is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="off, or clamd"):
        open_scanner(location)
