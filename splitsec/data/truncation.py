"""Recognises image files that were cut short or whose end was never written.

Decoders fill in what is missing, with grey or with noise, so that half a download looks like an
image. The formats mark their own end, which is what is checked here.
"""

from __future__ import annotations

import re
import struct
import zlib

from splitsec.errors import DataError

_JPEG, _PNG, _GIF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8"
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
# After a start of scan, 0xFF begins a marker unless 0x00, a restart or another 0xFF follows.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END_OF_IMAGE, _TABLES = 0xD9, 0xC4
_SEQUENTIAL = (0xC0, 0xC1)  # starts of frames that Huffman tables code block by block
_LOST = 512  # zero bytes in a row, the least that a disk loses
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_CUT = "it is truncated: "
_UNWRITTEN = 64  # zero bytes in a row with which compressed data do not end
_VP8_HEADER = struct.Struct("<6x2H")  # a frame's tag and start code, then width and height
# A flat area of a lossy WebP is written as zero bytes, one per 10,000 pixels.
_FLAT_PIXELS_PER_BYTE = 4096


def format_of(content: bytes) -> str | None:
    """Return the format that a file's first bytes announce, if it is one of those checked here."""
    begins = {_JPEG: "JPEG", _PNG: "PNG", _GIF: "GIF"} | dict.fromkeys(_TIFF, "TIFF")
    named = [name for start, name in begins.items() if content.startswith(start)]
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        named.append("WebP")
    return named[0] if named else None


def refuse_truncated(content: bytes) -> None:
    """Raise an error if an image file lacks its end.

    JPEG, PNG, WebP, GIF and the directory of TIFF are checked. Of other formats, and of pixels in
    a TIFF, the decoders notice that bytes are missing.

    Args:
        content: the whole file.

    Raises:
        DataError: the file is empty, holds only zeros, is truncated, or has a damaged chunk. The
            message begins with "it" and does not name the file.
    """
    if not content:
        raise DataError("it is empty")
    if not content.strip(b"\0"):
        raise DataError(f"{_CUT}all its {len(content):,} bytes are zero")
    checks = {"JPEG": _jpeg, "PNG": _png, "WebP": _webp, "GIF": _gif, "TIFF": _tiff}
    check = checks.get(format_of(content) or "")
    if check:
        check(content)


def _jpeg(content: bytes) -> None:
    """Walk the segments of the first picture; previews inside a segment have ends of their own."""
    place, sequential, no_zeros = 2, False, False
    while True:
        found = _MARKER.search(content, place)
        if found is None:
            written = len(content.rstrip(b"\0"))
            if len(content) - written >= _UNWRITTEN:
                raise DataError(f"{_CUT}after {written:,} bytes only zeros follow")
            raise DataError(f"{_CUT}it has no end marker")
        lost = content.find(bytes(_LOST), place, found.start()) if no_zeros else -1
        if lost >= 0:
            raise DataError(f"it is damaged: at byte {lost:,} a block of zeros begins")
        place, marker = found.end(), found[0][1]
        if marker == _END_OF_IMAGE:
            return
        if marker not in _ALONE:
            segment = content[place : place + int.from_bytes(content[place : place + 2], "big")]
            place += len(segment)
            sequential = sequential or marker in _SEQUENTIAL
            no_zeros = no_zeros or (sequential and marker == _TABLES and _excludes_zeros(segment))


def _excludes_zeros(segment: bytes) -> bool:
    """Return whether a segment of Huffman tables makes long runs of zero bytes impossible.

    Zero bits are the first code of a table. In most files the first code of a table of AC
    coefficients is not the end of a block, so that zeros would say -1 for each coefficient.
    """
    place = 2
    while place + 17 < len(segment):
        kind, first = segment[place] >> 4, segment[place + 17]
        if kind == 1 and first != 0:
            return True
        place += 17 + sum(segment[place + 1 : place + 17])
    return False


def _png(content: bytes) -> None:
    place = len(_PNG)
    while True:
        head = content[place : place + 8]
        if len(head) < 8:
            raise DataError(f"{_CUT}it has no end marker (IEND)")
        length, kind = struct.unpack(">I4s", head)
        if not kind.isalpha():
            cut = _CUT if not content[place:].strip(b"\0") else "it is damaged: "
            raise DataError(f"{cut}after {place:,} bytes of this PNG no chunk follows")
        after = place + 12 + length
        if after > len(content):
            raise DataError(f"{_CUT}its chunk {kind.decode()} needs {after:,} bytes of file")
        stated = int.from_bytes(content[after - 4 : after], "big")
        if zlib.crc32(content[place + 4 : after - 4]) != stated:
            unwritten = not content[after - _UNWRITTEN : after].strip(b"\0")
            cut = f"{_CUT}its end is zeros, and " if unwritten else "it is damaged: "
            raise DataError(f"{cut}the checksum of its chunk {kind.decode()} is wrong")
        if kind == b"IEND":
            return
        place = after


def _webp(content: bytes) -> None:
    needs = int.from_bytes(content[4:8], "little") + 8
    if len(content) < needs:
        raise DataError(f"{_CUT}it states a length of {needs:,} bytes and has {len(content):,}")
    place = 12
    while place + 8 <= needs:
        kind, length = struct.unpack("<4sI", content[place : place + 8])
        pixels = content[place + 8 : place + 8 + length]
        if kind == b"VP8 " and len(pixels) > _VP8_HEADER.size:
            extents = [extent & 0x3FFF for extent in _VP8_HEADER.unpack_from(pixels)]
            flat = extents[0] * extents[1] // _FLAT_PIXELS_PER_BYTE
            if len(pixels) - len(pixels.rstrip(b"\0")) >= _UNWRITTEN + flat:
                raise DataError(f"{_CUT}its end is zeros")
        place += 8 + length + length % 2


def _gif(content: bytes) -> None:
    if not content.rstrip(b"\0\r\n ").endswith(b";"):
        raise DataError(f"{_CUT}it has no end marker")


def _tiff(content: bytes) -> None:
    order = _TIFF[content[:4]]
    if len(content) < 8:
        raise DataError(f"{_CUT}it has {len(content)} bytes")
    (place,) = struct.unpack(order + "I", content[4:8])
    if place + 2 > len(content):
        raise DataError(f"{_CUT}its directory should begin at byte {place:,}")
    if not content[place:].strip(b"\0"):
        raise DataError(f"{_CUT}its directory, at byte {place:,}, is zeros")
    (entries,) = struct.unpack(order + "H", content[place : place + 2])
    if place + 2 + 12 * entries > len(content):
        raise DataError(f"{_CUT}its directory of {entries} entries is incomplete")
