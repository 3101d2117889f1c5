"""Frames between a host and its guest: a line of JSON, and tensors as raw bytes.

No pickle crosses in either direction. A receiver limits lengths and checks types and sizes before
it allocates memory.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from splitsec.devices import CPU, Device, on_cpu

MOST_HEADER_BYTES = 16 << 20

_PREFIX = struct.Struct("!I")
_BUFFER_BYTES = 4 << 20
_PIECE_BYTES = 1 << 20
_MOST_DIMENSIONS = 8
_MOST_TENSORS = 100_000
_MOST_VALUES = 1 << 48
_KINDS = {
    str(kind).removeprefix("torch."): kind
    for kind in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
    )
}


class Frame(NamedTuple):
    """One message.

    Attributes:
        kind: ``prepare``, ``call``, ``return``, ``raise``, ``ask`` or ``progress``.
        content: JSON values.
        tensors: name to tensor.
    """

    kind: str
    content: Any
    tensors: dict[str, Tensor]


class MalformedError(Exception):
    """The other side sent something that is not a frame or is larger than the call allows."""


class ClosedError(Exception):
    """The other side has closed the connection."""


class TimeUpError(Exception):
    """The other side exceeded its time limit."""


class Channel:
    """One end of a connection.

    Args:
        connection: a stream socket.
        seconds: limit on the total time of waiting for the other side, or None for no limit.
        device: where received tensors are put. Bytes stay on the CPU: they are checkpoints.

    Attributes:
        device: where received tensors are put.
        used: seconds that the other side has taken so far.
    """

    part_of_no_state = True  # an attack that holds one is saved without it

    def __init__(
        self, connection: socket.socket, seconds: float | None = None, device: Device = CPU
    ) -> None:
        self.device = device
        self._socket = connection
        self._allowed = math.inf if seconds is None else seconds
        self.used = 0.0
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    @contextmanager
    def charging(self) -> Iterator[None]:
        """Charge the time of the block to the other side, or more if the block charged more."""
        before, start = self.used, time.monotonic()
        try:
            yield
        finally:
            self.used = max(self.used, before + time.monotonic() - start)

    def send(
        self, kind: str, content: Any = None, tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        """Send a frame.

        Args:
            kind: see :class:`Frame`.
            content: JSON values.
            tensors: name to tensor; they cross as bytes. Strides of dense tensors are kept.

        Raises:
            MalformedError: the frame cannot be sent.
            ClosedError: the other side has closed the connection.
            TimeUpError: the other side reads too slowly.
        """
        flat = {name: _flat(tensor.detach()) for name, tensor in (tensors or {}).items()}
        described = [
            [name, str(one.values.dtype).removeprefix("torch."), one.shape, one.strides]
            for name, one in flat.items()
        ]
        try:
            header = json.dumps([kind, content, described]).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise MalformedError(f"{kind} holds what is not JSON: {error}") from None
        if len(header) > MOST_HEADER_BYTES:
            raise MalformedError(f"{kind} holds {len(header):,} bytes of JSON")
        with self._waiting():
            self._socket.sendall(_PREFIX.pack(len(header)) + header)
        for one in flat.values():
            with self._waiting():
                self._socket.sendall(_bytes_of(one.values))

    def receive(self, most_bytes: Mapping[str, int] | None) -> Frame:
        """Wait for a frame.

        Args:
            most_bytes: kind of frame to the limit on all its tensors; None trusts the other side.

        Raises:
            MalformedError: the other side sent something that is not a frame or is too large.
            ClosedError: the other side has closed the connection.
            TimeUpError: the other side exceeded its time limit.
        """
        (length,) = _PREFIX.unpack(self._read(_PREFIX.size))
        if length > MOST_HEADER_BYTES:
            raise MalformedError(f"it announced {length:,} bytes of JSON")
        try:
            header = json.loads(self._read(length))
        except (ValueError, RecursionError):
            raise MalformedError("it sent something that is not JSON") from None
        kind, content, described = _checked_header(header)
        if described and most_bytes is not None and kind not in most_bytes:
            raise MalformedError(f"it sent tensors with {kind[:20]!r}, where none are expected")
        total = sum(one.bytes for one in described)
        most = total if most_bytes is None else most_bytes.get(kind, 0)
        if total > most:
            shapes = ", ".join(str(tuple(one.shape)) for one in described[:3])
            raise MalformedError(
                f"it sent {total:,} bytes of tensors ({shapes}); expected {most:,} at most"
            )
        tensors = {}
        for one in described:
            values = torch.empty(math.prod(one.shape), dtype=one.dtype)
            self._read_into(_bytes_of(values))
            if one.dtype == torch.bool:  # bytes other than 0 and 1 would be undefined
                values = values.view(torch.uint8) != 0
            values = values.as_strided(one.shape, one.strides)
            tensors[one.name] = values if one.dtype == torch.uint8 else self.device.put(values)
        return Frame(kind, content, tensors)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Charge the time of waiting in the block to the other side."""
        left = self._allowed - self.used
        if left <= 0:
            raise TimeUpError
        start = time.monotonic()
        try:
            self._socket.settimeout(None if math.isinf(left) else left)
            yield
        except TimeoutError:
            raise TimeUpError from None
        except OSError:
            raise ClosedError from None
        finally:
            self.used += time.monotonic() - start

    def _read(self, length: int) -> bytes:
        """Read bytes; memory is allocated as they arrive."""
        read = bytearray()
        while len(read) < length:
            with self._waiting():
                piece = self._socket.recv(min(length - len(read), _PIECE_BYTES))
            if not piece:
                raise ClosedError
            read += piece
        return bytes(read)

    def _read_into(self, view: memoryview) -> None:
        while view:
            with self._waiting():
                count = self._socket.recv_into(view)
            if not count:
                raise ClosedError
            view = view[count:]


class _Flat(NamedTuple):
    """A tensor's values in memory order."""

    values: Tensor
    shape: list[int]
    strides: list[int]


class _TensorHeader(NamedTuple):
    """Description of a tensor that follows."""

    name: str
    dtype: torch.dtype
    shape: list[int]
    strides: list[int]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _flat(tensor: Tensor) -> _Flat:
    tensor = on_cpu(tensor)
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    shape, strides = list(tensor.shape), list(tensor.stride())
    if not _dense(shape, strides):
        tensor = tensor.contiguous()
        strides = list(tensor.stride())
    values = tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
    return _Flat(values, shape, strides)


def _dense(shape: list[int], strides: list[int]) -> bool:
    """Return whether values have no gaps or overlaps in memory, in any order."""
    if 0 in shape:
        return True
    due = 1
    sized = [(stride, size) for stride, size in zip(strides, shape, strict=True) if size > 1]
    for stride, size in sorted(sized):
        if stride != due:
            return False
        due *= size
    return True


def _bytes_of(values: Tensor) -> memoryview:
    array: Any = values.view(torch.uint8).numpy()
    return memoryview(array)


def _checked_header(header: Any) -> tuple[str, Any, list[_TensorHeader]]:
    match header:
        case [str(kind), content, list(described)]:
            if len(described) > _MOST_TENSORS:
                raise MalformedError(f"it sent {len(described):,} tensors")
            return kind, content, [_checked_tensor(one) for one in described]
    raise MalformedError("it sent JSON that is no frame")


def _checked_tensor(given: Any) -> _TensorHeader:
    match given:
        case [str(name), str(kind), list(shape), list(strides)] if kind in _KINDS:
            numbers = all(type(one) is int and 0 <= one < _MOST_VALUES for one in shape + strides)
            many = len(shape) > _MOST_DIMENSIONS
            if not numbers or many or math.prod(filter(None, shape)) >= _MOST_VALUES:
                raise MalformedError("it sent a tensor of no shape")
            if len(shape) != len(strides) or not _dense(shape, strides):
                raise MalformedError("it sent a tensor whose values overlap or have gaps")
            return _TensorHeader(name, _KINDS[kind], shape, strides)
    raise MalformedError("it sent a tensor of an unknown kind")
