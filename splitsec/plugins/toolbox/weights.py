"""Loads trained weights from a file of tensors; nothing else in a file is ever run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from splitsec.errors import NotApplicable, UsageError, reason

_WRAPPED = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # of wrappers such as DataParallel
_OPTIONAL = "num_batches_tracked"
_TOLD = 3  # names that a message lists


def load_weights(network: nn.Module, file: Path, *, new_head: bool = False) -> None:
    """Fill a network with the weights of a file.

    Args:
        network: the network.
        file: a ``.safetensors`` file, or a state dict that ``torch.save`` wrote, by itself or as
            the entry of a checkpoint.
        new_head: whether the last layer keeps its own weights if the file's are for another number
            of classes.

    Raises:
        UsageError: the file cannot be read, holds more than tensors, or is of another network.
        NotApplicable: the file's last layer is for another number of classes.

    Examples:
        >>> import torch
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from torch import nn
        >>> trained, network = nn.Linear(4, 2), nn.Linear(4, 2)
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "weights.pt"
        ...     torch.save(trained.state_dict(), file)
        ...     load_weights(network, file)
        >>> torch.equal(network.weight, trained.weight)
        True
    """
    given = _named_as(network, read_weights(file))
    own = network.state_dict()
    missing = [name for name in own if name not in given and not name.endswith(_OPTIONAL)]
    unknown = [name for name in given if name not in own]
    if missing or unknown:
        raise UsageError(f"{file} has the weights of another network: {_lists(missing, unknown)}")
    unlike = [name for name, value in given.items() if value.shape != own[name].shape]
    if unlike:
        _check_head(network, file, unlike, given, new_head=new_head)
        given = {name: value for name, value in given.items() if name not in unlike}
    wrong = next((name for name, value in given.items() if not _finite(value)), None)
    if wrong is not None:
        raise UsageError(f"{file}: the weight {wrong!r} has values that are not finite")
    network.load_state_dict(given, strict=False)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Raises:
        UsageError: it cannot be read, or holds something else than named tensors.
    """
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        held = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, EOFError, RuntimeError) as error:
        raise UsageError(f"cannot read weights at {file}: {reason(error)}") from error
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{file} holds Python objects beside its tensors, and loading them could run any code; "
            "save the weights alone: torch.save(model.state_dict(), FILE), or as .safetensors"
        ) from error
    for name in _WRAPPED:
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            held = held[name]
    if not isinstance(held, Mapping) or not held or not _are_tensors(held):
        raise UsageError(
            f"{file} is no state dict, which has a tensor for each name; save one: "
            "torch.save(model.state_dict(), FILE)"
        )
    return dict(held)


def _are_tensors(held: Mapping[Any, Any]) -> bool:
    return all(isinstance(one, str) and isinstance(held[one], Tensor) for one in held)


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def _named_as(network: nn.Module, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without the prefix that a wrapper gave all names."""
    own = network.state_dict().keys()
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in given) and not own & given.keys():
            given = {name.removeprefix(prefix): value for name, value in given.items()}
    return given


def _lists(missing: list[str], unknown: list[str]) -> str:
    said = []
    for what, names in (("it lacks", missing), ("it also has", unknown)):
        if names:
            more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
            said.append(f"{what} {', '.join(map(repr, names[:_TOLD]))}{more}")
    return "; ".join(said)


def _check_head(
    network: nn.Module,
    file: Path,
    unlike: list[str],
    given: Mapping[str, Tensor],
    *,
    new_head: bool,
) -> None:
    """Refuse tensors of other shapes, unless they are the last layer's and it shall be new.

    Raises:
        UsageError: other layers are unlike, too.
        NotApplicable: only the last layer is.
    """
    own = network.state_dict()
    last = list(own)[-1].rpartition(".")[0]
    name = unlike[0]
    shapes = f"{name!r} is {_shape(given[name])} there and {_shape(own[name])} in the model"
    if any(one.rpartition(".")[0] != last for one in unlike):
        raise UsageError(f"{file} has the weights of another network: {shapes}")
    if not new_head:
        raise NotApplicable(
            f"{file} is for another number of classes than the images have: {shapes}; with "
            "new_head=true (--new-head) the last layer starts anew"
        )


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "one number"
