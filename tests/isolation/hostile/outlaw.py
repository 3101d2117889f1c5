"""Takes a guest's place, and breaks the rule that the first call's method is called after.

It has the channel to itself, as any attack that cares to look for it has.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

channel = socket.socket(fileno=int(sys.argv[1]))
AT_ONCE = 24  # processes of the fork bomb: bounded, should nothing stop it


def read_call() -> dict[str, Any]:
    (length,) = struct.unpack("!I", channel.recv(4, socket.MSG_WAITALL))
    content: dict[str, Any] = json.loads(channel.recv(length, socket.MSG_WAITALL))[1]
    return content


def send(header: bytes, values: bytes = b"") -> None:
    channel.sendall(struct.pack("!I", len(header)) + header + values)


def frame(kind: str, content: Any = None, described: Any = (), values: bytes = b"") -> None:
    send(json.dumps([kind, content, described]).encode(), values)


class Touch:
    """Unpickling it writes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (Path(self.path), "code ran")


def fork(given: str) -> None:
    """Start processes that leave their session, and their parent."""
    pids = os.open(given, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for count in range(AT_ONCE):
        if os.fork() == 0:
            if count % 3:
                os.setsid()
            if count % 3 == 2 and os.fork():
                os._exit(0)
            Path("/proc/self/comm").write_bytes(b"\xff")  # no text
            os.write(pids, f"{os.getpid()}\n".encode())
            time.sleep(60)
            os._exit(0)
        time.sleep(0.05)
    time.sleep(60)


def hoard(given: str) -> None:
    held = []
    for _ in range(30):
        held.append(b"\1" * (32 << 20))
        time.sleep(0.02)
    time.sleep(60)


def flood(given: str) -> None:
    sys.stderr.write("\x1b[2J now the screen is mine \x07\n")
    for _ in range(50):
        sys.stderr.write("x" * 50_000)
    frame("return", "flooded")


def babble(given: str) -> None:
    while True:
        frame("progress", ["message", "still at it"])
        time.sleep(0.02)


def chatter(given: str) -> None:
    """Keep the host so busy that it hardly waits."""
    while True:
        send(b'["progress", ["stage", "' + 400 * b"again" + b'", 1], []]')
        frame("progress", ["staged"])


def close(given: str) -> None:
    channel.close()
    time.sleep(60)


RULES = {
    "pickle": lambda given: channel.sendall(pickle.dumps(Touch(given))),
    "pickled_header": lambda given: send(pickle.dumps(Touch(given))),
    "long_header": lambda given: channel.sendall(b"\xff\xff\xff\xff"),
    "huge_tensor": lambda given: frame("return", None, [["a", "float32", [2**40], [1]]]),
    "many_tensors": lambda given: frame("return", None, [["a", "float32", [1], [1]]] * 100_001),
    "object_tensor": lambda given: frame("return", None, [["a", "object", [1], [1]]], b"12345678"),
    "overlapping": lambda given: frame("return", None, [["a", "uint8", [9, 9], [0, 0]]], b"1"),
    "negative": lambda given: frame("return", None, [["a", "uint8", [-1, -1], [1, 1]]], b"1"),
    "overflow": lambda given: frame("return", None, [["a", "uint8", [2**40, 2**40, 0], [1, 1, 1]]]),
    "laden_progress": lambda given: frame("progress", ["staged"], [["a", "uint8", [0], [1]]]),
    "nested": lambda given: send(b"[" * 1_000_000),
    "no_frame": lambda given: send(b'{"kind": "return"}'),
    "no_utf8": lambda given: send(b"\xff\xfe\xfd"),
    "unknown_kind": lambda given: frame("please\x1b[2J"),
    "unknown_ask": lambda given: frame("ask", "private_images"),
    "endless_stage": lambda given: frame("progress", ["stage", "mine", 10**400]),
    "strange_progress": lambda given: frame("progress", ["stage", 7]),
    "foreign_error": lambda given: frame("raise", ["OutputError", "\x1b[31mdisk full\n" * 999]),
    "no_error": lambda given: frame("raise", 3),
    "exit": lambda given: os._exit(7),
    "silence": lambda given: time.sleep(60),
    "babble": babble,
    "chatter": chatter,
    "close": close,
    "fork": fork,
    "hoard": hoard,
    "flood": flood,
}

if __name__ == "__main__":
    call = read_call()
    RULES[call["method"]](call["given"])
    time.sleep(60)
