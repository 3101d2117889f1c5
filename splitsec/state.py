"""Takes the state of objects as plain tensors and values, and restores it.

A state is data, never objects, so reading it runs no code. It is restored into objects that were
built again in the same way. An object that builds networks while it runs has a method
``rebuild(state)``, which receives its plain attributes and builds the networks again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (bool, int, float, str, bytes, type(None))


class UnfitError(Exception):
    """A state cannot be saved, or does not fit the object to restore."""


def take(value: Any, where: str, above: tuple[int, ...] = ()) -> Any:
    """Return the state of an object.

    Args:
        value: a plain value, tensor, generator, module, optimizer or anything else with a
            ``state_dict``; a list, tuple or mapping of these; or an object with such attributes.
            Attributes that its owner was built with (parameters, view, functions) are left out.
        where: its name in errors.
        above: ids of the objects that hold it.

    Raises:
        UnfitError: its type cannot be saved, or it holds itself.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        return value.detach().clone()
    if id(value) in above:
        raise UnfitError(f"{where} holds itself")
    above = (*above, id(value))
    if isinstance(value, list | tuple):
        taken = [take(one, f"{where}[{i}]", above) for i, one in enumerate(value)]
        return taken if isinstance(value, list) else tuple(taken)
    return _take_object(value, where, above)


def _take_object(value: Any, where: str, above: tuple[int, ...]) -> dict[str, Any]:
    if isinstance(value, torch.Generator):
        return {"form": "generator", "state": value.get_state()}
    if isinstance(value, dict):
        items = [(key, take(one, f"{where}[{key!r}]", above)) for key, one in value.items()]
        return {"form": "mapping", "items": items}
    if _stateful(value):
        modes = [one.training for one in value.modules()] if isinstance(value, nn.Module) else []
        state = take(dict(value.state_dict()), where, above)
        return {"form": "stateful", "state": state, "modes": modes}
    if not hasattr(value, "__dict__"):
        raise UnfitError(f"{where} is a {type(value).__name__}, which cannot be saved")
    kept = {name: one for name, one in vars(value).items() if not _given(one)}
    items = [(name, take(one, f"{where}.{name}", above)) for name, one in kept.items()]
    return {"form": "object", "class": type(value).__qualname__, "items": items}


def _stateful(value: object) -> bool:
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


def _given(value: object) -> bool:
    """Return whether an attribute was given to its owner's constructor and does not change."""
    own = getattr(type(value), "part_of_no_state", False)
    return own or isinstance(value, type) or inspect.isroutine(value)


def put_back(value: Any, saved: Any, *, dry: bool = False) -> Any:
    """Restore a state into an object, or return it if it is a value.

    Args:
        value: the newly built object.
        saved: the state from :func:`take`.
        dry: only check whether it fits.

    Returns:
        The object or value to use in place of ``value``.

    Raises:
        UnfitError: the state does not fit.
    """
    if isinstance(saved, Tensor):
        return _put_tensor(value, saved, dry)
    if isinstance(saved, list | tuple):
        return _put_sequence(value, saved, dry)
    if isinstance(saved, dict):
        return _FORMS[saved["form"]](value, saved, dry)
    return saved


def _put_tensor(value: Any, saved: Tensor, dry: bool) -> Tensor:
    """Return a tensor: the existing one if it is trained, because an optimizer holds it too."""
    if not isinstance(value, Tensor) or not value.requires_grad:
        return saved
    if value.shape != saved.shape:
        raise UnfitError("a tensor has another shape")
    if not dry:
        with torch.no_grad():
            value.copy_(saved)
    return value


def _put_sequence(value: Any, saved: list[Any] | tuple[Any, ...], dry: bool) -> Any:
    current = list(value) if isinstance(value, list | tuple) else []
    current += [None] * (len(saved) - len(current))
    made = [put_back(one, other, dry=dry) for one, other in zip(current, saved, strict=False)]
    if isinstance(saved, tuple):
        return type(value)(*made) if hasattr(value, "_fields") else tuple(made)
    if isinstance(value, list) and not dry:
        value[:] = made
        return value
    return made


def _put_generator(value: Any, saved: Mapping[str, Any], dry: bool) -> Any:
    if not isinstance(value, torch.Generator):
        raise UnfitError("a generator is missing")
    if not dry:
        value.set_state(saved["state"])
    return value


def _put_mapping(value: Any, saved: Mapping[str, Any], dry: bool) -> Any:
    current: Mapping[Any, Any] = value if isinstance(value, dict) else {}
    items = {key: put_back(current.get(key), one, dry=dry) for key, one in saved["items"]}
    if dry or not isinstance(value, dict):
        return items
    value.clear()
    value.update(items)
    return value


def _put_stateful(value: Any, saved: Mapping[str, Any], dry: bool) -> Any:
    if not _stateful(value):
        raise UnfitError("a network or an optimizer is missing that was built on the way")
    if isinstance(value, nn.Module):
        known = {name: tensor.shape for name, tensor in value.state_dict().items()}
        found = {name: getattr(one, "shape", None) for name, one in saved["state"]["items"]}
        if known != found:
            raise UnfitError("a network has other weights")
    if dry:
        return value
    value.load_state_dict(put_back(None, saved["state"]))
    if isinstance(value, nn.Module):
        for module, mode in zip(value.modules(), saved["modes"], strict=True):
            module.training = mode
    return value


def _put_object(value: Any, saved: Mapping[str, Any], dry: bool) -> Any:
    if type(value).__qualname__ != saved["class"]:
        raise UnfitError(f"a {saved['class']} is missing")
    if hasattr(value, "rebuild"):
        if dry:
            return value
        value.rebuild(dict(saved["items"]))
    for name, one in saved["items"]:
        put = put_back(vars(value).get(name), one, dry=dry)
        if not dry:
            vars(value)[name] = put
    return value


_FORMS: dict[str, Callable[[Any, Mapping[str, Any], bool], Any]] = {
    "generator": _put_generator,
    "mapping": _put_mapping,
    "stateful": _put_stateful,
    "object": _put_object,
}
