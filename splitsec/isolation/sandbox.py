"""Builds the command that runs a process in bubblewrap's sandbox.

The process has no network, no other processes and no capabilities. It can read the system's
libraries, Python with its packages, splitsec and the plug-ins' sources. It can write to ``/tmp``
and ``/dev/shm``, which are small, in memory, and disappear with it. The kernel refuses it the calls
of :mod:`splitsec.isolation.system_calls`.

An attack's sandbox hides private data. A splitsec that runs untrusted defenses and targets runs in
an outer sandbox that shows the data, and starts its attacks' sandboxes inside.
"""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypedDict

from splitsec.errors import UsageError
from splitsec.folders import cache_folder, data_folder, medmnist_folder
from splitsec.isolation.system_calls import call_filter
from splitsec.plugins.loading import folder_of
from splitsec.plugins.names import KINDS

CONFINED_VARIABLE = "SPLITSEC_CONFINED"
"""Environment variable of a splitsec that runs in an outer sandbox and may start inner ones."""

EXTRA_PROCESSES = 2  # bubblewrap itself, and the first process inside

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_READ = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/fonts",
    "/sys/devices/system/cpu",
)
_ENVIRONMENT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "PYTHONPATH",
    "PYTHONHASHSEED",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OMP_PROC_BIND",
    "GOMP_SPINCOUNT",
    "MKL_NUM_THREADS",
    "KMP_BLOCKTIME",
    "KMP_AFFINITY",
    "OPENBLAS_NUM_THREADS",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
)
_SECRETS = {  # in /proc; of the kernel and of others who use the machine
    *("kallsyms", "kcore", "keys", "key-users", "kmsg", "kpagecount", "kpageflags", "locks"),
    *("modules", "sched_debug", "sysrq-trigger", "timer_list", "vmallocinfo"),
}
_ROOM_BYTES = 256 << 20
_OUTER_ROOM_BYTES = 4 << 30  # holds splitsec's temporary files of images
_SOMEBODY = 1000  # user id inside; outside it is the current user
_NOBODY = "nobody"
_PROBE = """
import os, sys
from importlib.util import find_spec
places = [find_spec(name).submodule_search_locations[0] for name in ("splitsec", "numpy", "torch")]
for place in sys.argv[1:] + places:
    if os.path.isfile(place):
        open(place, "rb").close()
        continue
    for folder, _, files in os.walk(place, onerror=lambda error: sys.exit(str(error))):
        for name in files:
            if place in sys.argv or name.endswith(".py"):
                open(os.path.join(folder, name), "rb").close()
"""  # as another user: whether Python, its packages and what an attack is shown can be read
_PACKAGES = {"site-packages", "dist-packages"}


def check_sandbox() -> str:
    """Return the path of bubblewrap.

    Raises:
        UsageError: bubblewrap is not installed.
    """
    found = shutil.which("bwrap")
    if found is None:
        raise UsageError(
            "the sandbox needs bubblewrap, which is not installed; install your system's package "
            "bubblewrap, or leave out --sandbox"
        )
    if "--disable-userns" not in _help(found):
        raise UsageError(
            "the sandbox needs bubblewrap 0.8 or newer: the installed one cannot stop processes "
            "inside from making namespaces of their own"
        )
    return found


@cache
def _help(bubblewrap: str) -> str:
    return subprocess.run(
        [bubblewrap, "--help"], capture_output=True, text=True, check=False
    ).stdout


def environment(home: str) -> dict[str, str]:
    """Return the environment variables of a process that runs untrusted code.

    Args:
        home: its home folder, also for temporary files.
    """
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**kept, "HOME": home, "TMPDIR": home}


class Confined(NamedTuple):
    """A command that runs another one in the sandbox.

    Attributes:
        command: bubblewrap with its options.
        handles: open files that its process must inherit (``pass_fds`` of ``subprocess.Popen``).
    """

    command: list[str]
    handles: list[int]


@contextmanager
def sandboxed(
    command: Sequence[str],
    shown: Iterable[Path],
    hidden: Iterable[str] = (),
    *,
    outer: bool = False,
    writable: Iterable[Path] = (),
    elsewhere: Mapping[str, Path] | None = None,
) -> Iterator[Confined]:
    """Yield the command that runs another one in the sandbox; start it once, in the block.

    Args:
        command: the command to run, in ``/tmp``, or in the working folder if ``outer``.
        shown: files and folders that it may read, in addition to Python's.
        hidden: folders that it must not see even inside shown ones, in addition to those of data,
            downloads and the cache; an ``outer`` sandbox sees everything in ``shown``.
        outer: whether it can start sandboxes of its own, as splitsec does.
        writable: folders that it may write to.
        elsewhere: path inside to a further file or folder that it may read there.

    Raises:
        UsageError: bubblewrap is not installed, or there is no filter for this processor.
    """
    options = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    options += ["--unshare-user"]
    places = {*_pythons(), *(path.absolute() for path in shown)}
    for folder in map(Path, _SYSTEM):
        if folder.is_symlink():
            options += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            places.add(folder)
    for path in _READ:
        options += ["--ro-bind-try", path, path]
    options += ["--dev", "/dev"]
    for path in ("/tmp", "/dev/shm"):
        room = _OUTER_ROOM_BYTES if outer else _ROOM_BYTES
        options += ["--size", str(room), "--tmpfs", path]
    private = (data_folder(), cache_folder(), medmnist_folder())
    hiding = () if outer else (*private, *map(Path, hidden))
    options += _shown(places, hiding)
    if os.environ.get(CONFINED_VARIABLE):  # a sandbox inside another cannot mount a new /proc
        for path in ("/proc/cpuinfo", "/proc/meminfo"):
            options += ["--ro-bind-try", path, path]
    else:
        options += ["--proc", "/proc", *_kernel_settings()]
    options += _inner_sandboxes() if outer else ["--disable-userns"]  # lest it gain capabilities
    for path, place in (elsewhere or {}).items():
        options += ["--ro-bind", str(place.absolute()), path]
    for folder in writable:
        options += ["--bind", str(folder.absolute()), str(folder.absolute())]
    inside = str(Path.cwd()) if outer else "/tmp"
    options += ["--dir", inside, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", inside]
    start, calls = check_sandbox(), call_filter(outer=outer)
    reading, writing = os.pipe()  # a file would be read to its end by the first process
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(calls)
        options += ["--seccomp", str(reading)]
        yield Confined([start, *options, "--", *command], [reading])
    finally:
        os.close(reading)


class User(TypedDict, total=False):
    """The arguments of ``subprocess.Popen`` that choose a process's user; none keeps the user."""

    user: int
    group: int
    extra_groups: list[int]


def unprivileged(shown: Iterable[Path]) -> User:
    """Return the user of an attack's sandbox: of root's processes, ``nobody`` where that works.

    It works where that user can read Python, its packages and the attack's source, and can start
    bubblewrap. Elsewhere the sandbox's process is root's, without capabilities.

    Args:
        shown: files and folders that the sandbox must read, in addition to Python's.
    """
    if os.getuid() != 0:
        return {}
    return _other_user(tuple(sorted({str(path.absolute()) for path in shown})))


@cache
def _other_user(shown: tuple[str, ...]) -> User:
    import pwd  # not on Windows

    try:
        nobody = pwd.getpwnam(_NOBODY)
    except KeyError:
        return {}
    other: User = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    probe = [sys.executable, "-P", "-c", _PROBE, *shown]
    with sandboxed(probe, map(Path, shown)) as (command, handles):
        probed = subprocess.run(
            command,
            env=environment("/tmp"),
            capture_output=True,
            check=False,
            pass_fds=handles,
            **other,
        )
    return other if probed.returncode == 0 else {}


def _inner_sandboxes() -> list[str]:
    """Return the options that let a sandbox start others inside."""
    # An inner sandbox limits its own user namespace there, and no other one.
    options = ["--bind", "/proc/sys/user", "/proc/sys/user"]
    if os.getuid() == 0:  # without capabilities, root cannot start an inner sandbox
        options += ["--uid", str(_SOMEBODY), "--gid", str(_SOMEBODY)]
    return options


def _kernel_settings() -> Iterator[str]:
    """Yield the options that make everything in ``/proc`` but the processes read-only or empty.

    A process of root may write to the kernel's settings in ``/proc/sys`` even without capabilities,
    because their files belong to root, and one of them names a program that the kernel starts.
    """
    for entry in sorted(Path("/proc").iterdir()):
        if entry.name.isdecimal() or entry.is_symlink():
            continue
        if entry.name in _SECRETS:
            yield from ("--ro-bind", "/dev/null", str(entry))
        elif entry.is_dir() or entry.stat().st_mode & 0o222:
            yield from ("--ro-bind-try", str(entry), str(entry))


def _shown(places: set[Path], hiding: Iterable[Path]) -> list[str]:
    """Return the options that show places and hide others inside them."""
    options: list[str] = []
    covered = set(_covered(places, hiding))
    # The outermost first, so that a later option overrides that of the folder around it.
    for place in sorted(places | covered, key=lambda path: (len(path.parts), path in covered)):
        if place in covered:
            options += ["--tmpfs", str(place), "--remount-ro", str(place)]
        else:
            options += ["--ro-bind", str(place), str(place)]
    return options


def _covered(shown: Iterable[Path], hidden: Iterable[Path]) -> Iterator[Path]:
    """Yield the paths inside shown places at which hidden folders would be visible."""
    for folder in (path.resolve() for path in hidden if path.is_dir()):
        for place in shown:
            if folder.is_relative_to(place.resolve()):
                yield place / folder.relative_to(place.resolve())


def _pythons() -> set[Path]:
    """Return the folders of Python, its packages and splitsec, never the working folder."""
    packages = [Path(path) for path in sys.path if Path(path).name in _PACKAGES]
    own = [Path(__file__).parents[1], *(folder_of(kind) for kind in KINDS)]
    prefixes = [Path(sys.prefix), Path(sys.base_prefix), *map(Path, site.getsitepackages())]
    found = {path.absolute() for path in (*packages, *own, *prefixes) if path.exists()}
    return found - {Path("/"), Path("/usr")}
