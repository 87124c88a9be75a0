"""Cheap proxies: their values where these are known, and that nothing is left of working them out."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmastool.errors import ConfigError
from llmastool.planner.features import features
from llmastool.planner.plan import Option
from llmastool.proposals.promising import promising
from llmastool.training.proxies import grad_norm, latency, naswot, proxies, synflow
from llmastool.training.proxies_config import NAMES, ProxiesConfig
from llmastool.trees.budget import Budget, Fell
from llmastool.trees.profile import Profile
from llmastool.trees.tree import Tree
from llmastool.workbench.client import Workbench

IMAGES, LABELS = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4


class Functional(nn.Module):
    """The same network, its activation called as a function."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.conv, self.linear = net[0], net[3]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(functional.relu(self.conv(x)).flatten(1))
        return out


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(80, 4))


def test_they_leave_no_trace() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(80, 4)).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = proxies(net, IMAGES, LABELS)
    assert set(found) == set(NAMES) and all(map(math.isfinite, found.values()))
    assert not net.training and all(p.grad is None and p.dtype == torch.float32 for p in net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    again = proxies(net, IMAGES, LABELS)
    assert {**again, "latency": 0.0} == {**found, "latency": 0.0}
    assert set(proxies(net, IMAGES, LABELS, ["synflow"])) == {"synflow"}


def test_naswot_counts_units_on_which_images_agree() -> None:
    net = small()
    on = (net[0](IMAGES).flatten(1) > 0).double()
    agree = torch.tensor([[(a == b).sum() for b in on] for a in on], dtype=torch.float64)
    assert naswot(net, IMAGES, LABELS) == pytest.approx(float(torch.logdet(agree)), rel=1e-9)
    assert naswot(Functional(net), IMAGES, LABELS) == pytest.approx(naswot(net, IMAGES, LABELS), rel=1e-12)


def test_naswot_of_equal_images_is_nothing() -> None:
    """The matrix has no inverse, and so the number is left out."""
    assert "naswot" not in proxies(small(), IMAGES[:1].expand(8, -1, -1, -1), LABELS)
    assert "naswot" not in proxies(nn.Sequential(nn.Flatten(), nn.Linear(108, 4)), IMAGES, LABELS)


def test_synflow_of_a_chain_of_linear_layers() -> None:
    """What flows through each of its layers is what flows out of it."""
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Flatten(), *(nn.Linear(a, b, bias=False) for a, b in ((108, 7), (7, 5), (5, 4))))
    flow = torch.ones(108, dtype=torch.float64)
    for layer in list(chain)[1:]:
        assert isinstance(layer, nn.Linear)
        flow = layer.weight.detach().double().abs() @ flow
    assert synflow(chain, IMAGES, LABELS) == pytest.approx(math.log(3 * float(flow.sum())), rel=1e-9)


def test_grad_norm_is_that_of_autograd() -> None:
    net = small()
    functional.cross_entropy(net(IMAGES), LABELS).backward()
    norms = [float(p.grad.norm()) for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    assert grad_norm(net, IMAGES, LABELS) == pytest.approx(math.log(sum(norms)), rel=1e-6)


def test_latency_is_of_one_image_in_microseconds() -> None:
    class Sleepy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert not self.training and not torch.is_grad_enabled()
            time.sleep(0.02)
            return x

    assert 2500 <= latency(Sleepy(), IMAGES, LABELS) < 25_000


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"names": ("zen",)}, r"names: expected some of naswot, synflow, grad_norm, latency, got \('zen',\)"),
        ({"gate": "naswot"}, "gate: expected one of names, or null"),
        ({"names": ("naswot",), "gate": "naswot", "drop": 1.0}, "drop: expected a share"),
    ],
)
def test_bad_settings(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ProxiesConfig(**fields)  # type: ignore[arg-type]


def net(width: int) -> Tree:
    conv = ("0", Tree("torch.nn.Conv2d", {"in_channels": 3, "out_channels": width, "kernel_size": 3}))
    tail = (("1", Tree("torch.nn.ReLU")), ("2", Tree("torch.nn.AdaptiveAvgPool2d", {"output_size": 1})))
    head = (("3", Tree("torch.nn.Flatten")), ("4", Tree("torch.nn.Linear", {"in_features": width, "out_features": 4})))
    return Tree("torch.nn.Sequential", {}, (conv, *tail, *head))


def test_the_workbench_works_them_out_where_they_are_asked_for(registry_folder: Path) -> None:
    found = []
    for names in ((), ("naswot", "synflow")):
        with Workbench(registry_folder, (2, 3, 8, 8), 4, Budget(), names) as bench:
            found.append([bench.check(net(width)) for width in (4, 16, 4)])
    plain, measured = found
    for a, b in zip(plain, measured, strict=True):
        assert isinstance(a, Profile) and isinstance(b, Profile)
        assert a.extra == {} and set(b.extra) == {"naswot", "synflow"}
        assert features(b)["cost"]["extra:naswot"] == b.extra["naswot"]
    assert measured[0] == measured[2]
    assert measured[0].extra["synflow"] < measured[1].extra["synflow"]  # type: ignore[union-attr]


def test_a_network_that_fails_on_real_numbers_falls(registry_folder: Path) -> None:
    """Shapes alone do not show it: an embedding takes whole numbers only."""
    head = (
        ("0", Tree("torch.nn.Flatten")),
        ("1", Tree("torch.nn.Embedding", {"num_embeddings": 4, "embedding_dim": 4})),
    )
    tail = (("2", Tree("torch.nn.Flatten")), ("3", Tree("torch.nn.Linear", {"in_features": 768, "out_features": 4})))
    with Workbench(registry_folder, (2, 3, 8, 8), 4, Budget(), ("naswot",)) as bench:
        found = bench.check(Tree("torch.nn.Sequential", {}, (*head, *tail)))
    assert isinstance(found, Fell)


def test_the_gate_leaves_out_what_a_proxy_ranks_last() -> None:
    def option(name: str, **extra: float) -> Option:
        profile = Profile(
            slots=(), in_shape=(2, 3, 8, 8), out_shape=(2, 4), parameters=1, flops=1, depth=1, extra=extra
        )
        return Option(parent="p", slot=name, kind="replace", family="f", profile=profile, tree=name)

    options = [option(name, naswot=value) for name, value in (("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 4.0))]
    options.append(option("e"))
    gate = ProxiesConfig(names=("naswot",), gate="naswot", drop=0.5)
    assert [o.slot for o in promising(options, gate)] == ["a", "d", "e"]
    assert promising(options, ProxiesConfig(names=("naswot",))) == options
