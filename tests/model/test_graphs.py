"""Contents of the graphs of the signatures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from styleserve import contract
from styleserve.model import StyleTransfer

LOOPS = ("While", "StatelessWhile")
CHOICES = ("If", "StatelessIf", "Case", "StatelessCase")


def graph_of(model: StyleTransfer, name: str) -> GraphDef:
    function: Any = model.functions[name]
    return function.get_concrete_function().graph.as_graph_def()


def outside_of_loops(graph: GraphDef) -> Iterator[NodeDef]:
    """The nodes that always run, apart from those in a loop; the loop itself is among them."""
    functions = {function.signature.name: function.node_def for function in graph.library.function}
    waiting = [graph.node]
    while waiting:
        for node in waiting.pop():
            yield node
            if node.op not in (*LOOPS, *CHOICES):
                values = node.attr.values()
                called = [value.func.name for value in values if value.HasField("func")]
                called += [func.name for value in values for func in value.list.func]
                waiting += [functions[name] for name in called]


@pytest.mark.parametrize("name", [contract.SERVING_DEFAULT, contract.STYLIZE_LBFGS])
def test_a_run_is_one_loop(model: StyleTransfer, name: str) -> None:
    """Steps are not unrolled, and no other loop runs before or after them; a loop over regions needs regions."""
    loops = [node for node in outside_of_loops(graph_of(model, name)) if node.op in LOOPS]
    assert len(loops) == 1


@pytest.mark.parametrize("name", sorted(contract.SIGNATURES))
def test_nothing_is_assigned(model: StyleTransfer, name: str) -> None:
    """A variable would be shared by all requests that run at the same time."""
    graph = graph_of(model, name)
    ops = {node.op for nodes in (graph.node, *(own.node_def for own in graph.library.function)) for node in nodes}
    assert "Placeholder" in ops
    assert not {op for op in ops if op.startswith(("Assign", "ResourceApply", "ResourceScatter"))}
