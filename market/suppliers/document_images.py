"""PNG and JPEG as containers: is it whole, how large is the picture, and the same without metadata.
Pure.

Nothing is decoded: the files are walked piece by piece, within their length. A picture that ends
before its file does, or after it, is refused: what follows the end may be another file.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

PIXELS_MAX: Final = 50_000_000
SIDE_MAX: Final = 20_000
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE: Final = b"\xff\xd8\xff"
_PNG_KEPT: Final = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_PNG_BODIES: Final[Mapping[bytes, Callable[[bytes], bool]]] = {
    b"PLTE": lambda body: 3 <= len(body) <= 768 and len(body) % 3 == 0,
    b"tRNS": lambda body: 1 <= len(body) <= 256,
    b"IEND": lambda body: not body,
}
"""What may be in pieces that come once at most."""
_PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DEPTHS: Final = {
    0: (1, 2, 4, 8, 16),
    2: (8, 16),
    3: (1, 2, 4, 8),
    4: (8, 16),
    6: (8, 16),
}
_CHUNK: Final = 256 * 1024
_FRAMES: Final = frozenset((0xC0, 0xC1, 0xC2))
_APPS: Final = frozenset(range(0xE0, 0xF0))
_COM: Final = 0xFE
_SOS: Final = 0xDA
_EOI: Final = 0xD9
_ADOBE: Final = 0xEE
_ADOBE_BYTES: Final = 12
TABLES_MAX: Final = 200
"""Segments of tables in one picture."""


class ImageRefused(ValueError):
    """The bytes are not one whole picture of bearable size; the text says why, a word."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture without metadata."""

    data: bytes
    width: int
    height: int


def clean_png(data: bytes) -> Picture:
    """Return a PNG with what shows the picture only. Raises ``ImageRefused``."""
    if not data.startswith(PNG_SIGNATURE):
        raise ImageRefused("signature")
    at, kept, size = len(PNG_SIGNATURE), [PNG_SIGNATURE], (0, 0)
    inflater: _Inflater | None = None
    kind, seen = b"", set[bytes]()
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ImageRefused("cut_off")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ImageRefused("cut_off")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageRefused("damaged")
        body = data[at + 8 : end - 4]
        if (kind == b"IHDR") != (inflater is None):
            raise ImageRefused("damaged")
        if kind in _PNG_BODIES and not (kind not in seen and _PNG_BODIES[kind](body)):
            raise ImageRefused("damaged")
        seen.add(kind)
        if kind == b"IHDR":
            size, inflater = _read_png_header(body)
        elif kind == b"IDAT" and inflater is not None:
            inflater.feed(body)
        elif kind not in _PNG_KEPT and not kind[0] & 0x20:
            raise ImageRefused("damaged")  # a critical piece that nobody knows
        if kind in _PNG_KEPT:
            kept.append(data[at:end])
        at = end
    if at != len(data):
        raise ImageRefused("trailing")
    assert inflater is not None
    inflater.finish()
    return Picture(b"".join(kept), *size)


def _read_png_header(body: bytes) -> tuple[tuple[int, int], "_Inflater"]:
    if len(body) != 13:
        raise ImageRefused("damaged")
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", body)
    if depth not in _PNG_DEPTHS.get(colour, ()) or compression or filters or interlace > 1:
        raise ImageRefused("damaged")
    _check_size(width, height)
    row = 1 + (width * depth * _PNG_CHANNELS[colour] + 7) // 8
    # Seven passes of an interlaced picture have more rows, each with its own filter and padding.
    slack = 0 if interlace == 0 else 16 * (height + width) + 64
    return (width, height), _Inflater(least=row * height, most=row * height + slack)


class _Inflater:
    """Counts what a picture's data unpack to, without keeping it."""

    def __init__(self, *, least: int, most: int) -> None:
        self._zlib = zlib.decompressobj()
        self._least, self._most, self._size = least, most, 0

    def feed(self, data: bytes) -> None:
        try:
            while data:
                if self._zlib.eof:
                    raise ImageRefused("trailing")
                self._size += len(self._zlib.decompress(data, _CHUNK))
                if self._size > self._most:
                    raise ImageRefused("too_large")
                data = self._zlib.unconsumed_tail
        except zlib.error:
            raise ImageRefused("damaged") from None

    def finish(self) -> None:
        if not self._zlib.eof or self._size < self._least:
            raise ImageRefused("cut_off")
        if self._zlib.unused_data:
            raise ImageRefused("trailing")


def clean_jpeg(data: bytes) -> Picture:
    """Return a JPEG with what shows the picture only. Raises ``ImageRefused``.

    Kept are frames that browsers show (baseline and progressive), their tables, whole and of their
    own length, and Adobe's marker, which says what the colours mean. Comments and application data
    go; segments that nobody knows could hold another file, and are refused.
    """
    if not data.startswith(JPEG_SIGNATURE):
        raise ImageRefused("signature")
    at, kept, size, has_scan, tables = 2, [data[:2]], (0, 0), False, 0
    while True:
        if at + 2 > len(data):
            raise ImageRefused("cut_off")
        if data[at] != 0xFF:
            raise ImageRefused("damaged")
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker == _EOI:
            kept.append(data[at : at + 2])
            at += 2
            break
        if at + 4 > len(data):
            raise ImageRefused("cut_off")
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(data):
            raise ImageRefused("cut_off")
        body = data[at + 4 : end]
        if marker in _FRAMES:
            if size != (0, 0):
                raise ImageRefused("damaged")
            size = _read_frame(body)
        elif marker in _TABLES:
            tables += 1
            if not _TABLES[marker](body) or tables > TABLES_MAX:
                raise ImageRefused("damaged")
        elif marker == _SOS:
            if size == (0, 0) or not _is_scan_header(body):
                raise ImageRefused("damaged")
            has_scan = True
            end = _find_scan_end(data, end)
        elif marker != _COM and marker not in _APPS:
            raise ImageRefused("damaged")
        if (marker not in _APPS and marker != _COM) or _is_adobe(marker, body, kept):
            kept.append(data[at:end])
        at = end
    if at != len(data):
        raise ImageRefused("trailing")
    if not has_scan:
        raise ImageRefused("damaged")
    return Picture(b"".join(kept), *size)


def _read_frame(body: bytes) -> tuple[int, int]:
    """Return the width and height of a frame."""
    if len(body) < 6 or len(body) != 6 + 3 * body[5] or not 1 <= body[5] <= 4:
        raise ImageRefused("damaged")
    height, width = struct.unpack_from(">HH", body, 1)
    _check_size(width, height)
    return width, height


def _is_scan_header(body: bytes) -> bool:
    return len(body) >= 1 and 1 <= body[0] <= 4 and len(body) == 4 + 2 * body[0]


def _is_adobe(marker: int, body: bytes, kept: list[bytes]) -> bool:
    """Tell whether this is Adobe's marker, with nothing behind it, and the first of its kind."""
    is_it = marker == _ADOBE and body.startswith(b"Adobe") and len(body) == _ADOBE_BYTES
    return is_it and not any(one[1] == _ADOBE for one in kept)


def _is_quantization(body: bytes) -> bool:
    """Tell whether a segment is 1 to 4 tables of 64 numbers, and nothing else."""
    at, count = 0, 0
    while at < len(body):
        if body[at] >> 4 > 1 or body[at] & 15 > 3:
            return False
        at, count = at + 1 + 64 * (1 + (body[at] >> 4)), count + 1
    return at == len(body) and 1 <= count <= 4


def _is_huffman(body: bytes) -> bool:
    """Tell whether a segment is 1 to 8 tables of the length that their heads say."""
    at, count = 0, 0
    while at + 17 <= len(body):
        symbols = sum(body[at + 1 : at + 17])
        if body[at] >> 4 > 1 or body[at] & 15 > 3 or symbols > 256:
            return False
        at, count = at + 17 + symbols, count + 1
    return at == len(body) and 1 <= count <= 8


_TABLES: Final[Mapping[int, Callable[[bytes], bool]]] = {
    0xC4: _is_huffman,
    0xDB: _is_quantization,
    0xDD: lambda body: len(body) == 2,
    0xDC: lambda body: len(body) == 2,
}
"""Huffman and quantization tables, the interval of restarts, the number of lines."""


def _find_scan_end(data: bytes, at: int) -> int:
    """Return where the next marker begins after a scan's own data."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise ImageRefused("cut_off")
        if data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7:
            at += 2
        else:
            return at


def _check_size(width: int, height: int) -> None:
    if width == 0 or height == 0:
        raise ImageRefused("damaged")
    if max(width, height) > SIDE_MAX or width * height > PIXELS_MAX:
        raise ImageRefused("too_large")
