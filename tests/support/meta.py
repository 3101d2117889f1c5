"""One device: tensors on torch's ``meta`` device have shapes and no values.

Whatever runs on ``meta`` runs on a GPU too, as far as places go: an operation between a tensor
there and one that was made on the CPU is refused here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from splitsec.devices import Device

META = Device("meta")

_aten = torch.ops.aten
_COPIES = (_aten._to_copy.default, _aten.copy_.default)
"""What may join two devices: explicit copies."""


class MixedDevicesError(RuntimeError):
    """One operation has tensors on two devices."""


class OneDevice(TorchDispatchMode):
    """Refuses operations with tensors on two devices, and answers what reads values back.

    torch alone lets some operations mix ``meta`` with the CPU, as it does with a GPU: a CPU
    tensor without axes counts as a number, and a CPU tensor may index another. Both are refused.
    An index on the CPU is copied, and waited for, each time that it is used. A number that a
    person writes, as in ``0.5 * x``, never arrives as a tensor; ``torch.tensor(0.5)`` does, and
    it fails as soon as the expression is no longer plain arithmetic, in ``torch.where``,
    ``torch.stack`` or ``lerp``. So a tensor is made on the device of what it meets, or is a
    plain number.

    What is read back of ``meta`` is 1, or true: losses are finite, nothing diverges, and loops
    go on. Operations whose result's shape depends on values behave as if all values were so.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        held = tree_leaves((args, kwargs))
        devices = {one.device.type for one in held if isinstance(one, Tensor)}
        if len(devices) > 1 and func not in _COPIES:
            raise MixedDevicesError(f"{func} mixes tensors on {' and '.join(sorted(devices))}")
        if devices == {"meta"}:
            if func is _aten._to_copy.default and kwargs.get("device") == torch.device("cpu"):
                return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
            answered = _ANSWERS.get(func)
            answer = NotImplemented if answered is None else answered(*args, **kwargs)
            if answer is not NotImplemented:
                return answer
        return func(*args, **kwargs)


def _number(value: Tensor) -> bool | int | float:
    return torch.ones((), dtype=value.dtype).item()


def _rows_of_all(value: Tensor) -> Tensor:
    return torch.zeros(value.numel(), value.dim(), dtype=torch.int64, device="meta")


def _counts(value: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    return torch.zeros(max(minlength, 2), dtype=torch.int64, device="meta")


def _chosen(value: Tensor, indices: list[Tensor | None]) -> Any:
    mask = indices[0]
    if len(indices) != 1 or mask is None or mask.dtype != torch.bool:
        return NotImplemented
    return value.new_empty(math.prod(mask.shape), *value.shape[mask.dim() :])


def _written(value: Tensor, indices: list[Tensor | None], values: Tensor, *rest: Any) -> Tensor:
    return value


def _all_different(value: Tensor, dim: int, *asked: bool) -> tuple[Tensor, Tensor, Tensor]:
    rows = torch.zeros(value.shape[dim], dtype=torch.int64, device="meta")
    return value, rows, rows.clone()


_ANSWERS: dict[Any, Callable[..., Any]] = {
    _aten._local_scalar_dense.default: _number,
    _aten.nonzero.default: _rows_of_all,
    _aten.bincount.default: _counts,
    _aten.index.Tensor: _chosen,
    _aten.index_put_.default: _written,
    _aten.unique_dim.default: _all_different,
}
"""What reads values of ``meta``, to what it gives."""


def without_fused_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Adam take its plain steps: its fused kernels, the same mathematics, have no ``meta``."""
    plain = torch.optim.Adam

    def adam(*args: Any, fused: bool = False, **kwargs: Any) -> torch.optim.Adam:
        return plain(*args, **kwargs)

    monkeypatch.setattr(torch.optim, "Adam", adam)
