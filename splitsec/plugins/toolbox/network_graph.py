"""The graph of a network's ``forward``, as far as a cut at a submodule needs it.

torch.fx follows the network and those submodules that contain a cut; all others stay whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from splitsec.devices import zeros_for
from splitsec.errors import UsageError, reason, unknown_name
from splitsec.shapes import Shape

BEFORE = "before-"
"""Prefix of a cut at the input of a submodule; without it, a cut is at the output."""


def submodule_of(network: nn.Module, cut: str) -> str:
    """Return the submodule that a cut names.

    Raises:
        UsageError: there is none.
    """
    name = cut.removeprefix(BEFORE)
    known = [one for one, _ in network.named_modules() if one]
    if name not in known:
        raise UsageError(unknown_name(f"submodule of {type(network).__name__}:", name, known))
    return name


class _Tracer(fx.Tracer):
    """Follows the network and the submodules that contain a cut; others stay whole."""

    def __init__(self, opened: Iterable[str]) -> None:
        super().__init__()
        self._opened = frozenset(opened)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a submodule stays whole."""
        return module_qualified_name not in self._opened


def graph_of(network: nn.Module, cuts: Sequence[str]) -> fx.Graph:
    """Follow the network as far as these cuts need.

    Raises:
        UsageError: it cannot be followed, or does something else in training than in evaluation.
    """
    opened = {
        name
        for name, _ in network.named_modules()
        if name and any(cut.startswith(f"{name}.") for cut in cuts)
    }
    training, graphs = network.training, []
    try:
        for mode in (False, True):
            network.train(mode)
            graphs.append(_Tracer(opened).trace(network))
    except Exception as error:  # whatever forward() raises for a value that stands for a tensor
        what = " and ".join([type(network).__name__, *sorted(opened)])
        raise UsageError(
            f"forward() of {what} cannot be followed to this cut ({reason(error)}); torch.fx "
            "follows no decisions that depend on values. Put what it cannot follow into a "
            "submodule, or cut at a submodule that contains it"
        ) from error
    finally:
        network.train(training)
    evaluated, trained = graphs
    if _steps(evaluated) != _steps(trained):
        raise UsageError(
            f"forward() of {type(network).__name__} does something else in training, such as a "
            "functional dropout, which cannot be split there; use submodules (nn.Dropout) for that"
        )
    return evaluated


def _steps(graph: fx.Graph) -> list[str]:
    return [f"{node.op} {node.target} {node.args} {node.kwargs}" for node in graph.nodes]


def calls_of(graph: fx.Graph, name: str) -> list[fx.Node]:
    """Return the nodes that call a submodule."""
    return [one for one in graph.nodes if one.op == "call_module" and one.target == name]


def output_of(graph: fx.Graph) -> fx.Node:
    """Return the last node, whose input is what the network returns."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    assert isinstance(output, fx.Node)
    return output


def before(end: fx.Node) -> set[fx.Node]:
    """Return a node and all that it depends on."""
    found: set[fx.Node] = set()
    waiting = [end]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def is_size(node: fx.Node) -> bool:
    """Return whether a node reads the size, type or place of a tensor, or computes with these."""
    if node.op == "call_method" and node.target in ("size", "dim"):
        return True
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in ("shape", "ndim", "dtype", "device")
    inputs = node.all_input_nodes
    return node.op.startswith("call_") and bool(inputs) and all(map(is_size, inputs))


def in_words(node: fx.Node) -> str:
    """Return what a person calls a node."""
    if node.op == "placeholder":
        return "the image itself"
    if node.op == "call_module":
        return f"the output of {node.target!r}"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    inside = [str(one.target) for one in before(node) if one.op == "call_module"]
    return f"the result of {name or node.name}()" + (f" after {inside[-1]!r}" if inside else "")


def values_at(
    network: nn.Module, graph: fx.Graph, image: Shape, wanted: Sequence[fx.Node], batch: int
) -> list[Any]:
    """Return the values of nodes for a batch of black images."""
    values: dict[fx.Node, Any] = {}

    class _Interpreter(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            made = super().run_node(n)
            if n in wanted:
                values[n] = made
            return made

    evaluated(network, image, _Interpreter(network, graph=graph).run, batch)
    return [values[node] for node in wanted]


@torch.no_grad()
def evaluated(
    network: nn.Module, image: Shape, forward: Callable[[Tensor], object], batch: int
) -> object:
    """Return what a network, in evaluation mode, makes of a batch of black images.

    Raises:
        UsageError: it does not take such images.
    """
    training = network.training
    network.eval()
    try:
        return forward(zeros_for(network, batch, *image))
    except Exception as error:
        raise UsageError(
            f"{type(network).__name__} does not take images of {image}: {reason(error)}; use "
            "another --size, or --channels"
        ) from error
    finally:
        network.train(training)


def outputs_of_submodules(network: nn.Module, image: Shape) -> list[tuple[str, tuple[int, ...]]]:
    """Return the submodules that give a tensor, as they end, and its shape for one image."""
    called: list[tuple[str, tuple[int, ...]]] = []

    def hook(name: str) -> Any:
        def note(module: nn.Module, given: Any, made: Any) -> None:
            if isinstance(made, Tensor):
                called.append((name, tuple(made.shape[1:])))

        return note

    hooks = [
        module.register_forward_hook(hook(name)) for name, module in network.named_modules() if name
    ]
    try:
        evaluated(network, image, network, 1)
    finally:
        for one in hooks:
            one.remove()
    return called


def passes_alone(graph: fx.Graph, node: fx.Node) -> bool:
    """Return whether all data pass a node, and it is neither the input nor the end."""
    output = output_of(graph)
    client, used = before(node), before(output)
    if node not in used or node in output.all_input_nodes:
        return False
    return all(
        user in client or user not in used or is_size(user)
        for one in client
        if one is not node and one.op != "get_attr"
        for user in one.users
    )
