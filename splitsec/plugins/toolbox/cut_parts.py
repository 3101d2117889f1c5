"""Builds the parts of a network that is cut, from its graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from splitsec.plugins.toolbox.network_graph import output_of

Replacement = Callable[[fx.Graph, fx.Node], Any]
"""Gives, in the server's graph and of its smashed data, what stands for a value that the client
has: a constant, or a node."""


class CutNetwork(NamedTuple):
    """The parts of a network.

    Attributes:
        client: maps images to smashed data, or to a tuple of smashed data and skips.
        server: maps smashed data to outputs, or to features if there is a head.
        head: maps features and skips to outputs; None if the server ends the network.
    """

    client: nn.Module
    server: nn.Module
    head: nn.Module | None


class PartsPlan(NamedTuple):
    """What the parts of a network are built from."""

    network: nn.Module
    graph: fx.Graph
    sides: Mapping[fx.Node, str]
    client_end: fx.Node
    server_end: fx.Node | None
    replaced: Mapping[fx.Node, Replacement]
    carried: Sequence[fx.Node]

    def made(self, shapes: Sequence[tuple[int, ...]]) -> CutNetwork:
        """Build the parts.

        Args:
            shapes: of the smashed data and of what is carried beside them; empty if nothing is.
        """
        skips = self._skips()
        client = fx.Graph()
        copies = self._copied(client, "client", {})
        sent = [copies[one] for one in (self.client_end, *self.carried)]
        kept = [copies[one] for one in skips]
        smashed = sent[0] if len(sent) == 1 else client.call_module("pack", tuple(sent))
        client.output((smashed, *kept) if kept else smashed)
        server = self._server(shapes)
        return CutNetwork(
            self._module(client, pack=_Pack(shapes)),
            self._module(server, unpack=_Unpack(shapes)),
            self._head(skips) if self.server_end is not None else None,
        )

    def _skips(self) -> list[fx.Node]:
        """Return the client's nodes that its head uses, in order."""
        return [
            node
            for node in self.graph.nodes
            if self.sides[node] == "client"
            and node.op != "get_attr"
            and any(self.sides[user] == "head" for user in node.users)
        ]

    def _server(self, shapes: Sequence[tuple[int, ...]]) -> fx.Graph:
        graph = fx.Graph()
        given = graph.placeholder("smashed")
        # A copy: what comes next may work in place, and the smashed data are kept.
        received = graph.call_method("clone", (given,))
        known: dict[fx.Node, Any] = {self.client_end: received}
        if self.carried:
            unpacked = graph.call_module("unpack", (given,))
            for place, node in enumerate((self.client_end, *self.carried)):
                known[node] = graph.call_function(operator.getitem, (unpacked, place))
        known |= {node: instead(graph, given) for node, instead in self.replaced.items()}
        copies = self._copied(graph, "server", known)
        end = self.server_end or output_of(self.graph).all_input_nodes[0]
        graph.output(copies[end])
        return graph

    def _head(self, skips: Sequence[fx.Node]) -> nn.Module:
        graph = fx.Graph()
        assert self.server_end is not None
        known: dict[fx.Node, Any] = {self.server_end: graph.placeholder("features")}
        known |= {node: graph.placeholder(f"skip_{place}") for place, node in enumerate(skips)}
        copies = self._copied(graph, "head", known)
        graph.output(copies[output_of(self.graph).all_input_nodes[0]])
        return self._module(graph)

    def _copied(self, graph: fx.Graph, side: str, known: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
        """Copy the nodes of a side, with the weights that it reads, into its graph."""

        def of(node: fx.Node) -> Any:
            if node not in known and node.op == "get_attr":
                known[node] = graph.node_copy(node)
            return known[node]

        for node in self.graph.nodes:
            if self.sides[node] == side and node not in known and node.op not in ("output",):
                if node.op == "get_attr":
                    of(node)
                    continue
                copy = graph.create_node(
                    node.op,
                    node.target,
                    fx.node.map_arg(node.args, of),
                    fx.node.map_arg(node.kwargs, of),
                    node.name,
                )
                known[node] = copy
        return known

    def _module(self, graph: fx.Graph, **more: nn.Module) -> nn.Module:
        """Return a module that runs a graph with the network's submodules and some more."""
        targets = {str(node.target) for node in graph.nodes if node.op == "call_module"}
        root: dict[str, Any] = {name: module for name, module in more.items() if name in targets}
        for node in graph.nodes:
            if node.op in ("call_module", "get_attr") and str(node.target) not in root:
                root[str(node.target)] = operator.attrgetter(str(node.target))(self.network)
        graph.lint()
        return fx.GraphModule(root, graph, type(self.network).__name__)


class _Pack(nn.Module):
    """Makes one tensor of several: maps of one size as channels, anything else as a vector."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self._maps = _are_maps(shapes)

    def forward(self, *parts: Tensor) -> Tensor:
        """Return tensors of shapes (N, ...) as one."""
        return torch.cat(parts if self._maps else [one.flatten(1) for one in parts], 1)


class _Unpack(nn.Module):
    """Undoes :class:`_Pack`."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self._shapes, self._maps = tuple(shapes), _are_maps(shapes)

    def forward(self, packed: Tensor) -> tuple[Tensor, ...]:
        """Return copies of the tensors, shapes (N, ...)."""
        sizes = [one[0] if self._maps else torch.Size(one).numel() for one in self._shapes]
        return tuple(
            part.reshape(-1, *shape).clone()
            for part, shape in zip(torch.split(packed, sizes, 1), self._shapes, strict=True)
        )


def _are_maps(shapes: Sequence[tuple[int, ...]]) -> bool:
    return all(len(one) == 3 for one in shapes) and len({one[1:] for one in shapes}) < 2
