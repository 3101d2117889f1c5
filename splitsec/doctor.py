"""What is here and what is missing: packages, devices, data, weights and folders."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from splitsec.data.sources import get_source, list_sources
from splitsec.errors import WeightsUnavailableError
from splitsec.folders import cache_folder, data_folder


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        what: its name.
        ok: whether it is there.
        needed: whether the default command cannot run without it.
        sentence: what was found, or how to get it.
    """

    what: str
    ok: bool
    needed: bool
    sentence: str


def examine(fetch: bool = False) -> list[Finding]:
    """Look at everything that an evaluation may need.

    Args:
        fetch: also fetch the LPIPS weights if they are missing; nothing else is downloaded.
    """
    packages = _packages()
    findings = [Finding("python", True, True, platform.python_version()), *packages]
    if all(finding.ok for finding in packages):
        findings += [_devices(), _weights(fetch)]
    findings += [_folder("cache folder", cache_folder())]
    findings += [_data_folder()]
    for name, _ in list_sources():
        availability = get_source(name, {}).availability()
        findings.append(Finding(f"data {name}", availability.found, False, availability.sentence))
    return findings


def _packages() -> list[Finding]:
    found = []
    for name in ("torch", "torchvision", "lpips", "skimage"):
        try:
            module = importlib.import_module(name)
        except (ImportError, RuntimeError, OSError) as error:
            advice = f"does not import: {error}"
            if name == "torchvision":
                advice += "; torch and torchvision do not fit: pip install -U torch torchvision"
            found.append(Finding(name, False, True, advice))
        else:
            found.append(
                Finding(name, True, True, str(getattr(module, "__version__", "installed")))
            )
    return found


def _devices() -> Finding:
    import torch  # noqa: PLC0415 - reported above when it does not import

    cores = os.cpu_count() or 1
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    names = f"; GPUs, not used yet: {', '.join(gpus)}" if gpus else "; no GPU, and none is needed"
    return Finding("devices", True, True, f"{cores} CPU cores{names}")


def _weights(fetch: bool) -> Finding:
    from splitsec.metrics.weights import load_backbone, local_source  # noqa: PLC0415 - torch

    here = local_source("alex")
    if here is None and fetch:
        try:
            load_backbone("alex")
        except WeightsUnavailableError as error:
            return Finding("LPIPS weights", False, False, str(error))
        here = local_source("alex")
    if here is not None:
        return Finding("LPIPS weights", True, False, f"AlexNet found in {here}")
    return Finding(
        "LPIPS weights", False, False,
        "will be fetched when first needed; splitsec doctor --fetch fetches them now",
    )  # fmt: skip


def _folder(what: str, folder: Path) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Finding(
            what, False, False, f"{folder} cannot be written ({error.strerror}); set SPLITSEC_CACHE"
        )
    return Finding(what, True, False, f"{folder}, {free:.0f} GB free")


def _data_folder() -> Finding:
    folder = data_folder()
    if folder.is_dir():
        return Finding("data folder", True, False, str(folder))
    return Finding(
        "data folder", False, False,
        f"{folder} does not exist; only needed for real data (SPLITSEC_DATA names another)",
    )  # fmt: skip
