"""Runs inside the sandbox and tries to open what must not open there; it writes nothing.

Each door is one thing that hostile code would want. A door is open if what is behind it could be
opened: a file for writing, a socket, a call that the kernel would carry out. Nothing is done with
what opens.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

_DEVICES = {
    f"/dev/{name}"
    for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts/ptmx")
}
_SECRETS = ("kcore", "keys", "key-users", "kmsg", "kallsyms", "timer_list", "vmallocinfo")
_FAMILIES = {
    "AF_INET": (2, socket.SOCK_STREAM),
    "AF_INET6": (10, socket.SOCK_STREAM),
    "AF_PACKET": (17, socket.SOCK_RAW),
    "AF_ALG": (38, socket.SOCK_SEQPACKET),
    "AF_VSOCK": (40, socket.SOCK_STREAM),
}
_NETLINK = {"AF_NETLINK": (16, socket.SOCK_RAW)}
_FORBIDDEN = (errno.EPERM, errno.ENOSYS, errno.EACCES)
_CALLS = {  # with arguments that do nothing where the call is allowed; x86_64, aarch64
    "io_uring": ((425, 425), (0, 0)),
    "key ring": ((250, 219), (0, -3, 0)),
    "ptrace": ((101, 117), (1, -1, 0, 0)),
    "process_vm_readv": ((310, 270), (-1, 0, 0, 0, 0, 0)),
    "perf_event_open": ((298, 241), (0, 0, -1, -1, 0)),
    "userfaultfd": ((323, 282), (-1,)),
    "bpf": ((321, 280), (-1, 0, 0)),
}
_MOUNTING = {
    "setns": ((308, 268), (-1, 0)),
    "mount": ((165, 40), (0, 0, 0, 0, 0)),
    "open_tree": ((428, 428), (-1, 0, 0)),
}
_NEW_USERS, _NEW_FILES, _NEW_PROCESSES = 0x10000000, 0x00020000, 0x20000000
_TYPE_INTO_TERMINAL = 0x5412

Door = Callable[[], str | None]
"""Returns what opened, or None."""


def doors(hidden: Sequence[str], *, outer: bool) -> Iterator[tuple[str, Door]]:
    """Yield the name of each door, and what tries it.

    Args:
        hidden: folders that must not be there.
        outer: whether this sandbox may start others inside.
    """
    yield "kernel's settings and devices, for writing", _settings
    yield "kernel's secrets", _secrets
    yield "splitsec's own files, for writing", partial(_opens, __file__, os.O_WRONLY)
    yield "other processes", _processes
    yield "capabilities", _capabilities
    yield "filter of system calls", _filter
    yield "accounts and system services", _services
    for folder in hidden:
        yield f"folder {folder}", partial(_lists, folder)
    families = _FAMILIES if outer else _FAMILIES | _NETLINK
    for name, (family, kind) in families.items():
        yield f"sockets of {name}", partial(_connects, family, kind)
    calls = _CALLS if outer else _CALLS | _MOUNTING
    for name, (numbers, arguments) in calls.items():
        yield f"call {name}", partial(_is_called, numbers, arguments)
    yield "typing into a terminal", _types
    yield "settings through a namespace of its own", _settings_in_namespace
    if not outer:
        yield "a namespace of its own", partial(_in_child, _makes_namespace)


def _settings() -> str | None:
    for top in ("/proc", "/sys", "/dev", "/etc"):
        for folder, folders, files in os.walk(top):
            if folder == "/proc":
                folders[:] = [one for one in folders if not one.isdecimal()]
            for file in (Path(folder, name) for name in files):
                if str(file) not in _DEVICES and not file.is_symlink():
                    opened = _opens(str(file), os.O_WRONLY | os.O_NONBLOCK)
                    if opened:
                        return opened
    return None


def _opens(file: str, flags: int = os.O_RDONLY) -> str | None:
    try:
        os.close(os.open(file, flags))
    except OSError:
        return None
    return file


def _secrets() -> str | None:
    return next((name for name in _SECRETS if _opens(f"/proc/{name}")), None)


def _lists(folder: str) -> str | None:
    try:
        found = list(Path(folder).iterdir())
    except OSError:
        return None
    return f"{len(found)} entries" if found else None


def _processes() -> str | None:
    """Return how many processes of others there are; bubblewrap's own is the first."""
    if not Path("/proc").is_dir():
        return None
    own = {"1", str(os.getpid()), str(os.getppid())}
    others = {one.name for one in Path("/proc").iterdir() if one.name.isdecimal()} - own
    return f"{len(others)} of them" if others else None


def _status(name: str) -> str:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def _capabilities() -> str | None:
    if not Path("/proc/self").exists():  # inside another sandbox, which has none to give
        return None
    held = {name: _status(name) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}
    kept = [name for name, bits in held.items() if int(bits, 16)]
    return ", ".join(kept) or (None if _status("NoNewPrivs") == "1" else "new privileges")


def _filter() -> str | None:
    if not Path("/proc/self").exists():
        return None
    return None if _status("Seccomp") == "2" else "there is none"


def _services() -> str | None:
    return _opens("/etc/shadow") or _opens("/etc/passwd") or _lists("/run") or _lists("/var")


def _connects(family: int, kind: int) -> str | None:
    try:
        socket.socket(family, kind).close()
    except OSError as error:
        # Without rights a raw socket is refused; that says nothing about the family.
        return None if error.errno == errno.EAFNOSUPPORT else str(error)
    return "a socket"


def _call(number: int, *arguments: int) -> int:
    """Return the error of a system call, or 0."""
    system = ctypes.CDLL(None, use_errno=True)
    done = system.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return ctypes.get_errno() if done == -1 else 0


def _is_called(numbers: tuple[int, int], arguments: tuple[int, ...]) -> str | None:
    found = _call(numbers[platform.machine() == "aarch64"], *arguments)
    return None if found in _FORBIDDEN else f"the kernel says: {os.strerror(found)}"


def _types() -> str | None:
    system = ctypes.CDLL(None, use_errno=True)
    with Path(os.devnull).open("rb") as nothing:  # no terminal, so that nothing is typed
        system.ioctl(nothing.fileno(), ctypes.c_ulong(_TYPE_INTO_TERMINAL), None)
    found = ctypes.get_errno()
    return None if found == errno.EPERM else f"the kernel says: {os.strerror(found)}"


def _in_child(attempt: Callable[[], bool]) -> str | None:
    """Return whether an attempt succeeds in a process of its own."""
    child = os.fork()
    if child == 0:
        done = False
        try:
            done = attempt()
        finally:
            os._exit(0 if done else 1)
    return "it was made" if os.waitpid(child, 0)[1] == 0 else None


def _unshares(flags: int) -> bool:
    return bool(ctypes.CDLL(None).unshare(flags) == 0)


def _makes_namespace() -> bool:
    return _unshares(_NEW_USERS)


def _settings_in_namespace() -> str | None:
    """Return whether a process that is root of its own namespace sees settings to write to."""
    return _in_child(_opens_settings_in_namespace)


def _opens_settings_in_namespace() -> bool:
    if not _unshares(_NEW_USERS | _NEW_FILES | _NEW_PROCESSES):
        return False

    def look() -> bool:
        system = ctypes.CDLL(None)
        system.mount(b"proc", b"/tmp", b"proc", 0, None)  # its own, which no other process sees
        system.umount2(b"/proc/sys", 2)
        system.mount(None, b"/proc/sys", None, 0x1020, None)  # remounted, no longer read-only
        places = ("/proc/sys", "/tmp/sys")
        return any(_opens(f"{place}/kernel/core_pattern", os.O_WRONLY) for place in places)

    return _in_child(look) is not None  # the first child is in the new namespace of processes


def main() -> None:
    """Print one line of JSON per door; arguments: ``outer`` or ``inner``, and hidden folders."""
    for name, door in doors(sys.argv[2:], outer=sys.argv[1] == "outer"):
        sys.stdout.write(json.dumps([name, door()]) + "\n")


if __name__ == "__main__":
    main()
