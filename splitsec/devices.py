"""Where models and batches live, and the one place that moves them.

A cell has one :class:`Device`, which puts its models, batches, released images, grants and
measured images there. Random numbers are always drawn on the CPU and then copied
(:func:`beside`), so a seed means the same on every device. What a record keeps comes back through
:func:`on_cpu`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from splitsec.errors import OUT_OF_MEMORY, MemoryExhaustedError, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Device:
    """A device of torch.

    Attributes:
        name: torch's name for it, such as ``"cpu"`` or ``"cuda:0"``.

    Examples:
        >>> import torch
        >>> device = Device("meta")  # a device of torch that has shapes and no values
        >>> images, labels, weight = device.put((torch.rand(2, 3), torch.tensor([0, 1]), 0.5))
        >>> images.device, labels.device, weight
        (device(type='meta'), device(type='meta'), 0.5)
        >>> device.put(torch.nn.Linear(3, 2)).weight.device
        device(type='meta')
    """

    part_of_no_state: ClassVar[bool] = True  # defenses hold it, and are saved without it

    name: str = "cpu"

    @classmethod
    def of(cls, value: Tensor | nn.Module) -> Device:
        """Return the device of a tensor or of a module's weights; the CPU if it has no weights."""
        if isinstance(value, nn.Module):
            for tensor in (*value.parameters(), *value.buffers()):
                return cls(str(tensor.device))
            return cls()
        return cls(str(value.device))

    @property
    def description(self) -> str:
        """Its name in records, with the model of a GPU that is here."""
        if not self.name.startswith("cuda") or not torch.cuda.is_available():
            return self.name
        return f"{self.name} ({torch.cuda.get_device_name(self.name)})"

    def put(self, value: T) -> T:
        """Return a value on this device.

        Args:
            value: a tensor, a module, or a sequence, named tuple or mapping of these; anything
                else stays as it is. A module is moved in place, so move it before you make its
                optimizer.
        """
        put: Any = self._put(value)
        result: T = put
        return result

    def _put(self, value: Any) -> Any:
        if isinstance(value, Tensor | nn.Module):
            return value.to(self.name)
        if isinstance(value, Mapping):
            return {key: self._put(one) for key, one in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(self._put, value))
        if isinstance(value, list | tuple):
            return type(value)(map(self._put, value))
        return value


CPU = Device()
"""The device of cells that ask for no other one."""


def beside(value: T, other: Tensor) -> T:
    """Return a value on the device of a tensor that it is used with.

    Random numbers and the initial weights of networks are drawn on the CPU, and need this.

    Args:
        value: anything that :meth:`Device.put` takes.
        other: the tensor.

    Examples:
        >>> import torch
        >>> smashed = torch.zeros(4, 16, device="meta")
        >>> noise = torch.randn(smashed.shape, generator=torch.Generator())
        >>> (smashed + beside(noise, smashed)).device
        device(type='meta')
    """
    return Device.of(other).put(value)


def all_finite(values: Tensor) -> bool:
    """Return whether no value is infinite or undefined.

    On the CPU one thread looks, since waking another one takes longer than a batch.

    Examples:
        >>> import torch
        >>> all_finite(torch.zeros(3)), all_finite(torch.tensor([1.0, float("nan")]))
        (True, False)
    """
    values = values.detach()
    if values.device.type != "cpu" or values.dtype == torch.bfloat16:
        return bool(torch.isfinite(values).all())
    return bool(np.isfinite(values.numpy()).all())


Precision = Literal["float32", "bf16"]
"""In which numbers clients and an honest server compute: in float32, or mixed with bfloat16."""


def computing(precision: Precision, values: Tensor) -> AbstractContextManager[object]:
    """Return a context in which networks compute in a precision; weights stay float32.

    Args:
        precision: the precision.
        values: a tensor on the device that computes.

    Examples:
        >>> import torch
        >>> from splitsec.devices import computing
        >>> images = torch.rand(2, 3)
        >>> with computing("bf16", images):
        ...     torch.nn.Linear(3, 2)(images).dtype
        torch.bfloat16
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(values.device.type, torch.bfloat16)


def in_batches(forward: Callable[[Tensor], T], values: Tensor, at_once: int) -> list[T]:
    """Return what a function makes of tensors, batch by batch.

    Where a batch does not fit into the device's memory, it goes on with batches of half the size.

    Args:
        forward: is called with consecutive rows of ``values``.
        values: shape (N, ...).
        at_once: largest number of rows.

    Raises:
        MemoryExhaustedError: a single row does not fit.

    Examples:
        >>> import torch
        >>> from splitsec.devices import in_batches
        >>> in_batches(len, torch.zeros(5, 3), at_once=2)
        [2, 2, 1]
    """
    made: list[T] = []
    start = 0
    while start < len(values) or not made:
        batch = values[start : start + at_once]
        done = _tried(forward, batch)
        if done is not None:
            made.append(done[0])
            start += max(len(batch), 1)
            continue
        at_once = max(len(batch) // 2, 1)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return made


def _tried(forward: Callable[[Tensor], T], batch: Tensor) -> tuple[T] | None:
    """Return what a function makes of a batch, or None if two rows or more are too many."""
    try:
        return (forward(batch),)
    except (torch.OutOfMemoryError, MemoryExhaustedError) as error:
        if len(batch) > 1:
            return None
        if isinstance(error, MemoryExhaustedError):
            raise
        raise MemoryExhaustedError(f"one image {OUT_OF_MEMORY}") from error


def on_cpu(values: Tensor) -> Tensor:
    """Return a tensor on the CPU: for numbers, pictures and files, and to cross to a process."""
    return values.detach().to(CPU.name)


def zeros_for(module: nn.Module, *shape: int) -> Tensor:
    """Return zeros where a module's weights are, to see what it makes of a shape."""
    return torch.zeros(*shape, device=Device.of(module).name)


def devices_named(name: str) -> list[Device]:
    """Return the devices that a person asks for, over which sessions may be spread.

    Args:
        name: ``"cpu"``, ``"cuda"`` for all NVIDIA GPUs, ``"cuda:1"`` for one of them, ``"mps"``, or
            ``"auto"`` for all NVIDIA GPUs, or else the CPU.

    Returns:
        One or more.

    Raises:
        UsageError: it is no such name, or torch finds no such device here.

    Examples:
        >>> devices_named("cpu")
        [Device(name='cpu')]
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return [CPU]
    found = re.fullmatch(r"(auto|cuda)|cuda:(\d{1,4})|(mps)", name)
    if found is None:
        raise UsageError(f"--device {name!r} is not auto, cpu, cuda, cuda:1 or mps")
    if found[3]:
        if not torch.backends.mps.is_available():
            raise UsageError("--device mps: torch finds no GPU of Apple here")
        return [Device("mps:0")]
    if not torch.cuda.is_available():
        why = "finds no NVIDIA GPU here" if torch.version.cuda else "was built without CUDA"
        raise UsageError(f"--device {name}: this torch ({torch.__version__}) {why}")
    gpus = [Device(f"cuda:{index}") for index in range(torch.cuda.device_count())]
    if found[2] is None:
        return gpus
    if int(found[2]) >= len(gpus):
        names = ", ".join(one.name for one in gpus)
        raise UsageError(f"--device {name}: torch finds {names} here")
    return [gpus[int(found[2])]]
