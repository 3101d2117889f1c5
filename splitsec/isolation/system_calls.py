"""A filter of system calls, for bubblewrap: what no numerical code needs is refused.

The filter is a program in the kernel's classic BPF (``linux/seccomp.h``, ``linux/filter.h``): eight
bytes per instruction. Refused calls fail like those of a kernel that lacks them or forbids them.
"""

from __future__ import annotations

import errno
import platform
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from splitsec.errors import UsageError

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST, _THIRD = 0, 4, 16, 32  # offsets in struct seccomp_data
_NEW_USERS = 0x10000000  # CLONE_NEWUSER
_TYPING = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX put characters into a terminal's input
_NETLINK = 16  # AF_NETLINK


class _Machine(NamedTuple):
    """An architecture, as audit calls it, and the calls that it has by a number of its own."""

    audit: int
    socket: int
    socketpair: int
    clone: int
    ioctl: int
    refused: tuple[int, ...]
    mounting: tuple[int, ...]
    foreign: int  # from this number on, calls are of another architecture's numbering


_ALIKE = (425, 426, 427, 438, 440, 443)  # io_uring_*, pidfd_getfd, process_madvise, quotactl_fd
_MOUNTING_ALIKE = (428, 429, 430, 431, 432, 433, 442)  # open_tree to fspick, mount_setattr
_CLONE3 = 435  # its flags are in memory, where no filter sees them; libraries fall back on clone

_MACHINES: Mapping[str, _Machine] = {
    "x86_64": _Machine(
        audit=0xC000003E,
        socket=41,
        socketpair=53,
        clone=56,
        ioctl=16,
        refused=(
            *(248, 249, 250),  # add_key, request_key, keyctl
            *(101, 310, 311, 312),  # ptrace, process_vm_readv, process_vm_writev, kcmp
            *(321, 298, 323),  # bpf, perf_event_open, userfaultfd
            *(246, 320, 174, 175, 313, 176),  # kexec_*, create_module to delete_module
            *(169, 167, 168, 103, 163, 179),  # reboot, swapon, swapoff, syslog, acct, quotactl
            *(164, 227, 159, 305, 170, 171),  # settimeofday to clock_adjtime, names of the host
            *(303, 304, 300, 153),  # *_handle_at, fanotify_init, vhangup
            *(154, 172, 173, 134, 136, 156),  # modify_ldt, iopl, ioperm, uselib, ustat, _sysctl
        ),
        mounting=(165, 166, 155, 161, 272, 308),  # mount to chroot, unshare, setns
        foreign=0x40000000,  # x32
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        socket=198,
        socketpair=199,
        clone=220,
        ioctl=29,
        refused=(
            *(217, 218, 219),
            *(117, 270, 271, 272),
            *(280, 241, 282),
            *(104, 294, 105, 273, 106),
            *(142, 224, 225, 116, 89, 60),
            *(170, 112, 171, 266, 161, 162),
            *(264, 265, 262, 58),
        ),
        mounting=(40, 39, 41, 51, 97, 268),
        foreign=0x40000000,
    ),
}


def call_filter(*, outer: bool = False, machine: str = "") -> bytes:
    """Return the filter of a sandbox.

    Args:
        outer: whether processes may start sandboxes inside, which mount folders and make
            namespaces.
        machine: architecture of the processor; this machine's if empty.

    Raises:
        UsageError: nobody has written the numbers of that machine's calls down.
    """
    known = _MACHINES.get(machine or platform.machine())
    if known is None or sys.byteorder != "little":
        raise UsageError(
            f"the sandbox has no filter of system calls for {machine or platform.machine()} "
            f"processors, only for {' and '.join(_MACHINES)}; leave out --sandbox"
        )
    return b"".join(_program(known, outer=outer))


def _program(machine: _Machine, *, outer: bool) -> Iterator[bytes]:
    yield _step(_LOAD, _ARCHITECTURE)
    yield from _unless(_EQUAL, machine.audit, _KILL)
    yield _step(_LOAD, _NUMBER)
    yield from _when(_AT_LEAST, machine.foreign, errno.ENOSYS)
    for number in (*machine.refused, *_ALIKE):
        yield from _when(_EQUAL, number, errno.EPERM)
    if not outer:
        for number in (*machine.mounting, *_MOUNTING_ALIKE):
            yield from _when(_EQUAL, number, errno.EPERM)
        yield from _when(_EQUAL, _CLONE3, errno.ENOSYS)
        new_users = [*_when(_ANY_BIT, _NEW_USERS, errno.EPERM)]
        yield from _argument(machine.clone, 0, new_users)
    refused = _step(_RETURN, _REFUSE | errno.EAFNOSUPPORT)
    routes = [*_unless(_EQUAL, _NETLINK, _REFUSE | errno.EAFNOSUPPORT), _step(_LOAD, _THIRD)]
    routes += _allowing(0)  # NETLINK_ROUTE, which bubblewrap needs for an inner sandbox
    for number in (machine.socket, machine.socketpair):
        allowed = [*_allowing(socket.AF_UNIX), *(routes if outer else [])]
        yield from _argument(number, 0, [*allowed, refused])
    typing = [step for one in _TYPING for step in _when(_EQUAL, one, errno.EPERM)]
    yield from _argument(machine.ioctl, 1, typing)
    yield _step(_RETURN, _ALLOW)


def _step(operation: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """Return one instruction; jumps are counted from the next one."""
    return struct.pack("<HBBI", operation, then, otherwise, value)


def _when(operation: int, value: int, error: int) -> Iterator[bytes]:
    """Yield steps that refuse where a comparison holds."""
    yield _step(operation, value, 0, 1)
    yield _step(_RETURN, _REFUSE | error)


def _unless(operation: int, value: int, result: int) -> Iterator[bytes]:
    yield _step(operation, value, 1, 0)
    yield _step(_RETURN, result)


def _allowing(value: int) -> Iterator[bytes]:
    yield _step(_EQUAL, value, 0, 1)
    yield _step(_RETURN, _ALLOW)


def _argument(call: int, place: int, steps: list[bytes]) -> Iterator[bytes]:
    """Yield steps that look at the low half of one call's argument, and load the number again."""
    yield _step(_EQUAL, call, 0, len(steps) + 2)
    yield _step(_LOAD, _FIRST + 8 * place)  # eight bytes an argument
    yield from steps
    yield _step(_LOAD, _NUMBER)
