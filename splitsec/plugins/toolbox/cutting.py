"""Splits any network at named submodules, by the graph of its ``forward``.

What leaves the client must be one tensor. Another tensor that the server would need, such as a
residual connection around the cut, is refused by name, or carried on request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from splitsec.errors import UsageError
from splitsec.plugins.toolbox.cut_parts import CutNetwork, PartsPlan, Replacement
from splitsec.plugins.toolbox.network_graph import (
    BEFORE,
    before,
    calls_of,
    graph_of,
    in_words,
    is_size,
    output_of,
    outputs_of_submodules,
    passes_alone,
    submodule_of,
    values_at,
)
from splitsec.shapes import Shape

_BATCHES = (2, 3)  # sizes at which values are compared, to tell a batch's size from a constant


def cut_network(
    network: nn.Module, image: Shape, at: str, until: str = "", *, carry: bool = False
) -> CutNetwork:
    """Split a network after, or before, named submodules.

    Args:
        network: maps images (N, C, H, W) to one tensor.
        image: shape of one image.
        at: where the client ends: a submodule as ``named_modules`` calls it, or ``before-`` and
            one. Such as ``layer1``, ``features.3`` or ``before-classifier``.
        until: where the server ends, in the same form, if the client has the rest of the network;
            empty if the server has it.
        carry: whether other tensors that the server needs are sent beside the smashed data: maps
            of one size as more channels, anything else as one vector.

    Returns:
        The parts, which have the network's own submodules.

    Raises:
        UsageError: there is no such submodule, the network cannot be followed or cut there, or it
            does not take such images.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from splitsec import Shape
        >>> from splitsec.plugins.toolbox.cutting import cut_network
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
        >>> parts = cut_network(network, Shape(3, 8, 8), "1")
        >>> parts.client(torch.rand(4, 3, 8, 8)).shape
        torch.Size([4, 8, 6, 6])
    """
    cuts = [submodule_of(network, one) for one in (at, until) if one]
    graph = graph_of(network, cuts)
    client_end = _cut_node(graph, network, at)
    server_end = _cut_node(graph, network, until) if until else None
    sides = _sides(graph, client_end, server_end)
    crossing = _crossing(graph, sides, client_end, server_end)
    replaced, carried = _replaced(network, graph, image, crossing, client_end)
    if carried and not carry:
        raise UsageError(_says_carried(network, image, at, carried))
    parts = PartsPlan(network, graph, sides, client_end, server_end, replaced, carried)
    shapes = _shapes(network, graph, image, [client_end, *carried]) if carried else []
    made = parts.made(shapes)
    for part in made:
        if part is not None:
            _write_nothing_in_place(part)
    _refuse_shared(made, at)
    return made


def cut_points(network: nn.Module, image: Shape) -> dict[str, tuple[int, ...]]:
    """Return the submodules after which one tensor alone goes on, in the order of ``forward``.

    Args:
        network: maps images (N, C, H, W) to one tensor.
        image: shape of one image.

    Returns:
        Name of the submodule to the shape of its output for one image.

    Raises:
        UsageError: the network does not take such images.
    """
    graphs: dict[str, fx.Graph | None] = {}
    found = {}
    for name, shape in outputs_of_submodules(network, image):
        parent = name.rpartition(".")[0]
        if parent not in graphs:
            try:
                graphs[parent] = graph_of(network, [name])
            except UsageError:
                graphs[parent] = None
        graph = graphs[parent]
        calls = [] if graph is None else calls_of(graph, name)
        if graph is not None and len(calls) == 1 and passes_alone(graph, calls[0]):
            found[name] = shape
    return found


def _cut_node(graph: fx.Graph, network: nn.Module, cut: str) -> fx.Node:
    """Return the node whose output a cut names.

    Raises:
        UsageError: the submodule is not called exactly once, or not with one tensor.
    """
    name = cut.removeprefix(BEFORE)
    calls = calls_of(graph, name)
    if len(calls) != 1:
        said = f"{len(calls)} times" if calls else "by none of the modules that contain it"
        raise UsageError(
            f"{type(network).__name__} has a submodule {name!r}, but forward() calls it "
            f"{said}; a cut must be passed once. Cut at another submodule"
        )
    if not cut.startswith(BEFORE):
        found = calls[0]
    else:
        inputs = calls[0].all_input_nodes
        if len(inputs) != 1:
            raise UsageError(f"{name!r} has {len(inputs)} inputs; a cut before it needs one")
        found = inputs[0]
    if found.op == "placeholder":
        raise UsageError(f"a cut at {cut!r} leaves the client nothing but the image itself")
    if found in output_of(graph).all_input_nodes:
        raise UsageError(f"a cut at {cut!r} leaves nothing to the server: the network ends there")
    return found


def _sides(
    graph: fx.Graph, client_end: fx.Node, server_end: fx.Node | None
) -> Mapping[fx.Node, str]:
    """Return which part computes each node: client, server or head.

    A node without a result, such as an assertion, is the client's if all that it uses is, and so is
    one that reads the size of what the client has.
    """
    client = before(client_end)
    used = before(output_of(graph))
    server = used - client if server_end is None else before(server_end) - client
    sides: dict[fx.Node, str] = {}
    for node in graph.nodes:
        inputs = {sides[one] for one in node.all_input_nodes}
        if node in client or (is_size(node) and inputs == {"client"}):
            sides[node] = "client"
        elif node in server:
            sides[node] = "server"
        elif node in used or node.op == "output":
            sides[node] = "server" if server_end is None else "head"
        else:
            owners = {sides[one] for one in node.all_input_nodes if one.op != "get_attr"}
            sides[node] = "client" if owners <= {"client"} else max(owners - {"client"})
    return sides


def _crossing(
    graph: fx.Graph,
    sides: Mapping[fx.Node, str],
    client_end: fx.Node,
    server_end: fx.Node | None,
) -> list[fx.Node]:
    """Return the client's nodes, beside the cut, that the server uses.

    Raises:
        UsageError: the client's head uses what the server would keep, or the server uses none of
            the smashed data.
    """
    crossing = []
    for node in graph.nodes:
        users = {sides[user] for user in node.users}
        if node.op == "get_attr":
            continue
        if sides[node] == "client" and node is not client_end and "server" in users:
            crossing.append(node)
        if sides[node] == "server" and node is not server_end and "head" in users:
            raise UsageError(
                f"the client's end of the network uses {in_words(node)}, which the server computes "
                "before the second cut; choose one that all data of the server pass"
            )
    if not any(sides[user] == "server" for user in client_end.users):
        raise UsageError(f"the server uses nothing of {in_words(client_end)}; choose another cut")
    return crossing


def _replaced(
    network: nn.Module,
    graph: fx.Graph,
    image: Shape,
    crossing: Sequence[fx.Node],
    client_end: fx.Node,
) -> tuple[dict[fx.Node, Replacement], list[fx.Node]]:
    """Tell numbers that cross from tensors that do.

    Returns:
        Node to what the server has instead: a constant, or what it reads off the smashed data; and
        the nodes of tensors.

    Raises:
        UsageError: what crosses is neither.
    """
    if not crossing:
        return {}, []
    both = [values_at(network, graph, image, crossing, batch) for batch in _BATCHES]
    replaced: dict[fx.Node, Replacement] = {}
    carried = []
    for node, *values in zip(crossing, *both, strict=True):
        if isinstance(values[0], Tensor):
            carried.append(node)
        elif isinstance(values[0], torch.device):
            replaced[node] = _device
        elif values[0] == values[1]:
            replaced[node] = partial(_constant, value=values[0])
        elif values == list(_BATCHES):
            replaced[node] = _batch
        else:
            raise UsageError(
                f"the server would need {in_words(node)}, which the client keeps "
                f"({type(values[0]).__name__}); cut elsewhere than after {in_words(client_end)}"
            )
    return replaced, carried


def _constant(graph: fx.Graph, smashed: fx.Node, value: Any) -> Any:
    return value


def _batch(graph: fx.Graph, smashed: fx.Node) -> fx.Node:
    return graph.call_method("size", (smashed, 0))


def _device(graph: fx.Graph, smashed: fx.Node) -> fx.Node:
    return graph.call_function(getattr, (smashed, "device"))


def _shapes(
    network: nn.Module, graph: fx.Graph, image: Shape, nodes: Sequence[fx.Node]
) -> list[tuple[int, ...]]:
    """Return the shapes of nodes' values for one image, without the batch axis."""
    values = values_at(network, graph, image, nodes, _BATCHES[0])
    return [tuple(one.shape[1:]) if isinstance(one, Tensor) else () for one in values]


def _says_carried(network: nn.Module, image: Shape, at: str, carried: Sequence[fx.Node]) -> str:
    """Return why a cut is refused, and which ones near it would not be."""
    listed = " and ".join(in_words(one) for one in carried)
    places = {name: place for place, (name, _) in enumerate(outputs_of_submodules(network, image))}
    possible, here = list(cut_points(network, image)), places[at.removeprefix(BEFORE)]
    earlier = [name for name in possible if places[name] < here][-1:]
    later = [name for name in possible if places[name] > here][:1]
    names = " or ".join(map(repr, [*earlier, *later]))
    instead = f"cut at {names}, which all data pass, or " if names else ""
    return (
        f"a cut at {at!r} of {type(network).__name__} does not part it: the server also "
        f"needs {listed}; {instead}send that, too (carry=true, or --carry)"
    )


def _write_nothing_in_place(part: nn.Module) -> None:
    """Let no submodule write into its input, which others may still need."""
    for module in part.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # as torch's layers have it


def _refuse_shared(parts: CutNetwork, at: str) -> None:
    """Raise a UsageError if a weight is on both sides of the wire."""
    kept = [part for part in (parts.client, parts.head) if part is not None]
    own = {id(weight): name for part in kept for name, weight in _weights(part)}
    for name, weight in _weights(parts.server):
        if id(weight) in own:
            raise UsageError(
                f"a cut at {at!r} would leave the weight {name!r} on both sides of the wire; "
                "choose another cut"
            )


def _weights(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from part.named_parameters()
    yield from part.named_buffers()
