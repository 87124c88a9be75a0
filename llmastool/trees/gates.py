"""The gates that a tree passes before it is trained, from cheap to dear: build, shape, budget, one real pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import nn

from llmastool.errors import TreeError
from llmastool.modes import training
from llmastool.trees.budget import Budget, Fell, check_profile
from llmastool.trees.catalog import Catalog
from llmastool.trees.observe import Network
from llmastool.trees.profile import Shape
from llmastool.trees.tree import Tree

_STEEPEST = 1e8
"""Gradient from which on a first step would throw the weights away."""


def check(
    tree: Tree,
    catalog: Catalog,
    in_shape: Shape,
    classes: int,
    budget: Budget,
    measure: Callable[[Tree], Mapping[str, float]] | None = None,
) -> Network:
    """Pass a tree through the gates that cost no computation, and return it observed.

    Args:
        tree: the network.
        catalog: where its modules come from.
        in_shape: `(batch, channels, height, width)` of its input.
        classes: number of classes that it must tell apart.
        budget: how large it may be.
        measure: returns what else is to be known of it, `Profile.extra`; it may cost computation.

    Raises:
        Fell: it cannot be built (`build`), fails on the input or gives the wrong output (`shape`), or is too large
            (`budget`).
    """
    try:
        network = Network(tree, catalog, in_shape)
    except TreeError as error:
        raise Fell("shape" if "forward fails" in str(error) else "build", str(error)) from None
    check_profile(network.profile, classes, budget)
    if measure is not None:
        network.profile = replace(network.profile, extra=measure(tree))
    return network


def real_pass(net: nn.Module, images: torch.Tensor, classes: int) -> None:
    """Run one forward and backward on real images, as in training, and leave no trace in the network.

    Args:
        net: the network, on the device of `images`.
        images: `(batch, channels, height, width)`, 2 images or more.
        classes: number of classes.

    Raises:
        Fell: the output has the wrong shape (`shape`); it or a gradient is not finite, a parameter is never used, or
            all gradients are zero or one of them is huge (`numerics`).
    """
    kept = {name: b.clone() for name, b in net.named_buffers() if not nn.parameter.is_lazy(b)}
    out = training(net)(images)
    expected = (len(images), classes)
    if not isinstance(out, torch.Tensor) or tuple(out.shape) != expected:
        got = f"a tensor {tuple(out.shape)}" if isinstance(out, torch.Tensor) else type(out).__name__
        raise Fell("shape", f"expected logits of shape {expected}, got {got}")
    loss = nn.functional.cross_entropy(out, torch.arange(len(images), device=images.device) % classes)
    if not math.isfinite(loss.item()):
        raise Fell("numerics", f"the loss of the first pass is {loss.item()}")
    if not loss.requires_grad:
        raise Fell("numerics", "the output depends on no parameter, so there is nothing to train")
    loss.backward()
    dead = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    if dead:
        raise Fell("numerics", f"{len(dead)} parameters are never used, the first is {dead[0]}")
    if not all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None):
        raise Fell("numerics", "a gradient of the first pass is not finite")
    steepest = max((p.grad.abs().max().item() for p in net.parameters() if p.grad is not None and p.numel()), default=0)
    if not 0 < steepest < _STEEPEST:
        raise Fell("numerics", f"the largest gradient of the first pass is {steepest:.3g}, so it cannot be trained")
    net.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, buffer in net.named_buffers():
            if name in kept and kept[name].shape == buffer.shape:
                buffer.copy_(kept[name])
