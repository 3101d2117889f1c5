"""The filter of system calls, run by an interpreter of its instructions, for every architecture."""

from __future__ import annotations

import errno
import re
import socket
import struct
from pathlib import Path

import pytest

from splitsec.errors import UsageError
from splitsec.isolation.system_calls import call_filter

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SOCKET = {"x86_64": 41, "aarch64": 198}
CLONE = {"x86_64": 56, "aarch64": 220}
IOCTL = {"x86_64": 16, "aarch64": 29}
KEYCTL = {"x86_64": 250, "aarch64": 219}
MOUNT = {"x86_64": 165, "aarch64": 40}
READ = {"x86_64": 0, "aarch64": 63}
IO_URING, CLONE3, VSOCK, NETLINK = 425, 435, 40, 16

ALLOWED, KILLED = 0x7FFF0000, 0x80000000

machines = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])


def decide(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """Return what the kernel does with a call: 0 is to allow it, else its error."""
    filled = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number, audit, 0, *filled)
    steps, place, loaded = list(struct.iter_unpack("<HBBI", program)), 0, 0
    while True:
        operation, then, otherwise, value = steps[place]
        place += 1
        if operation == 0x06:
            return {ALLOWED: 0, KILLED: -1}.get(value, value & 0xFFFF)
        if operation == 0x20:
            (loaded,) = struct.unpack_from("<I", data, value)
            continue
        holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[
            operation
        ]
        place += then if holds else otherwise


@machines
@pytest.mark.parametrize("outer", [False, True])
def test_what_numerical_code_needs_is_allowed(machine: str, outer: bool) -> None:
    program, audit = call_filter(outer=outer, machine=machine), AUDIT[machine]
    assert decide(program, audit, READ[machine], 3) == 0
    assert decide(program, audit, CLONE[machine], 0x3D0F00) == 0  # a thread
    assert decide(program, audit, SOCKET[machine], socket.AF_UNIX) == 0
    assert decide(program, audit, IOCTL[machine], 0, 0x5401) == 0  # what isatty asks
    assert len(program) // 8 < 4096  # the kernel takes no more instructions


@machines
@pytest.mark.parametrize("outer", [False, True])
def test_what_it_does_not_need_is_refused(machine: str, outer: bool) -> None:
    program, audit = call_filter(outer=outer, machine=machine), AUDIT[machine]
    for family in (socket.AF_INET, socket.AF_INET6, VSOCK, 17, 38):
        assert decide(program, audit, SOCKET[machine], family) == errno.EAFNOSUPPORT
        assert decide(program, audit, SOCKET[machine], family | 1 << 32) == errno.EAFNOSUPPORT
    for number in (IO_URING, IO_URING + 2, KEYCTL[machine]):
        assert decide(program, audit, number) == errno.EPERM
    assert decide(program, audit, IOCTL[machine], 0, 0x5412 | 1 << 40) == errno.EPERM
    assert decide(program, 0x40000003, READ[machine]) == -1  # calls of 32 bits have other numbers
    assert decide(program, audit, 0x40000000 | READ[machine]) == errno.ENOSYS


@machines
def test_only_an_outer_sandbox_mounts_and_makes_namespaces(machine: str) -> None:
    inner, outer = (call_filter(outer=one, machine=machine) for one in (False, True))
    audit = AUDIT[machine]
    for call, error in (
        ((MOUNT[machine],), errno.EPERM),
        ((CLONE[machine], 0x10000011), errno.EPERM),
        ((CLONE3,), errno.ENOSYS),
        ((SOCKET[machine], NETLINK), errno.EAFNOSUPPORT),
    ):
        assert decide(inner, audit, *call) == error
        assert decide(outer, audit, *call) == 0
    uevents = (SOCKET[machine], NETLINK, 3, 15)  # another protocol than that of routes
    assert decide(outer, audit, *uevents) == errno.EAFNOSUPPORT


def test_another_processor_is_named() -> None:
    with pytest.raises(UsageError, match=r"no filter of system calls for riscv64 processors, only"):
        call_filter(machine="riscv64")


@machines
def test_the_numbers_are_those_of_the_systems_headers(machine: str) -> None:
    """Held against the headers of this machine, where it has them."""
    headers = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}
    file = Path("/usr/include") / headers[machine]
    if not file.is_file():
        pytest.skip(f"{file} is not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", file.read_text(encoding="utf-8"))
    numbers = {name: int(number) for name, number in found}
    program = call_filter(machine=machine)
    refused = {
        name
        for name, number in numbers.items()
        if decide(program, AUDIT[machine], number) == errno.EPERM
    }
    assert numbers.keys() & NAMES <= refused <= NAMES | OLD


NAMES = {
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "pidfd_getfd", "process_madvise"),
    *("add_key", "request_key", "keyctl", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("kcmp", "bpf", "perf_event_open", "userfaultfd", "kexec_load", "kexec_file_load"),
    *("init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff", "syslog"),
    *("acct", "quotactl", "quotactl_fd", "settimeofday", "clock_settime", "adjtimex"),
    *("clock_adjtime", "sethostname", "setdomainname", "name_to_handle_at", "open_by_handle_at"),
    *("fanotify_init", "vhangup", "mount", "umount2", "pivot_root", "chroot", "unshare", "setns"),
    *("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"),
}
OLD = {"create_module", "modify_ldt", "iopl", "ioperm", "uselib", "ustat", "_sysctl"}
"""Calls that only older architectures have."""
