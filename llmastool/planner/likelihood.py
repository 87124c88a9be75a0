"""The marginal likelihood of what was observed, as PyMC's sampler asks for it: with its gradient, in one go.

PyTensor would work out the gradient of a Cholesky decomposition, which takes longer to compile and to run than what is
known on paper (Rasmussen and Williams 2006, section 5.4.1). `Evidence.energy` is the same in NumPy, for a few calls.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from llmastool.planner.hyper import JITTER
from llmastool.planner.table import Floats


def likelihood(
    unknowns: Floats, base: Floats, kernels: Floats, y: Floats, rest_variances: Floats, rest: Floats
) -> tuple[float, Floats]:
    """Return the logarithm of the marginal likelihood, up to a constant, and its gradient by the unknowns.

    Written in loops over numbers: Numba compiles those in a second, and whole-array expressions in sixteen.

    Args:
        unknowns: logarithms of the kernels' scales, then of the noise, shape `(kernels + 1,)`.
        base: as in `llmastool.planner.hyper.Evidence`, and so are the next three.
        kernels: shape `(kernels, directions, directions)`.
        y: shape `(directions,)`.
        rest_variances: shape `(kernels,)`.
        rest: power and count of the other directions, shape `(2,)`.
    """
    number, n = len(kernels), len(y)
    noise = np.exp(2 * unknowns[number])
    covariance, outside = base.copy(), noise + JITTER
    for k in range(number):
        variance = np.exp(2 * unknowns[k])
        outside += variance * rest_variances[k]
        for i in range(n):
            for j in range(n):
                covariance[i, j] += variance * kernels[k, i, j]
    for i in range(n):
        covariance[i, i] += noise + JITTER
    root, inverse = np.linalg.cholesky(covariance), np.linalg.inv(covariance)
    twice = rest[0] / outside + rest[1] * np.log(outside)
    beyond = rest[1] / outside - rest[0] / outside**2
    solved, trace = np.zeros(n), beyond
    for i in range(n):
        for j in range(n):
            solved[i] += inverse[i, j] * y[j]
        twice += y[i] * solved[i] + 2 * np.log(root[i, i])
        trace += inverse[i, i] - solved[i] ** 2
    gradient = np.empty(number + 1)
    gradient[number] = -noise * trace
    for k in range(number):
        slope = beyond * rest_variances[k]
        for i in range(n):
            for j in range(n):
                slope += kernels[k, i, j] * (inverse[i, j] - solved[i] * solved[j])
        gradient[k] = -np.exp(2 * unknowns[k]) * slope
    return -0.5 * twice, gradient


class Likelihood(Op):
    """`likelihood` in a graph of PyTensor: its inputs, its two results."""

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        """Return the node for the arguments of `likelihood`."""
        return Apply(self, [pt.as_tensor_variable(value) for value in inputs], [pt.dscalar(), pt.dvector()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Work it out in Python, where nothing is compiled."""
        del node
        value, gradient = likelihood(*inputs)
        outputs[0][0], outputs[1][0] = np.asarray(value), gradient

    def infer_shape(self, graph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes of the results."""
        del graph, node
        return [(), shapes[0]]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Say that only the first result is ever derived, and only by the unknowns."""
        return [[True, False], *[[False, False]] * (len(node.inputs) - 1)]

    def L_op(self, inputs: list[Any], outputs: list[Any], output_grads: list[Any]) -> list[Any]:  # noqa: N802 - its name
        """Return the gradient, which is there already."""
        return [output_grads[0] * outputs[1], *(disconnected_type() for _ in inputs[1:])]


@register_funcify_default_op_cache_key(Likelihood)
def _compiled(op: Likelihood, node: Apply, **_: Any) -> Any:
    del op, node
    loops = numba.njit(likelihood, fastmath=True)

    @numba.njit
    def call(*inputs: Any) -> Any:
        value, gradient = loops(*inputs)
        return np.asarray(value), gradient

    return call
