"""What of torch is used without its compiler: the same numbers, without its imports."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from feedgym.towers.plain_torch import allocated, eager

TRAINING = """
import sys
from feedgym.agents import parse_agent
from feedgym.env import Feed, FeedConfig
for name in ("regression-dwell:max_steps=2", "reinforce:max_steps=2", "contrastive:max_steps=2,encoder=gru"):
    feed = Feed(FeedConfig(num_readers=60, days=1.2), seed=0)
    agent = parse_agent(name).start(feed)
    while not feed.done:
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
print(sorted({"torch._dynamo", "sympy"} & set(sys.modules)))
"""


def steps(kind: Any, **settings: object) -> tuple[bytes, object]:
    weight = nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4))
    optimiser = kind([{"params": [weight], "lr": 0.05}], **settings)
    for step in range(6):
        optimiser.zero_grad()
        loss = (weight * torch.sin(torch.arange(12.0).reshape(3, 4) + step)).square().sum()
        loss.backward()
        optimiser.step(lambda loss=loss: loss)
        if step == 3:
            optimiser.load_state_dict(optimiser.state_dict())
    return weight.detach().numpy().tobytes(), weight.requires_grad


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam, torch.optim.LBFGS])
def test_an_optimiser_makes_the_same_steps(kind: Any) -> None:
    settings = {} if kind is torch.optim.LBFGS else {"fused": True}
    assert steps(eager(kind), **settings) == steps(kind, **settings)
    assert steps(eager(kind), **settings) != steps(torch.optim.SGD)


def test_a_layer_on_the_meta_device_gets_memory_of_the_same_shapes() -> None:
    for make in (nn.Linear, nn.GRU):
        layer, plain = allocated(make(3, 5, device="meta")), make(3, 5)
        shapes = [(n, p.shape, p.dtype, p.device, p.requires_grad) for n, p in layer.named_parameters()]
        assert shapes == [(n, p.shape, p.dtype, p.device, p.requires_grad) for n, p in plain.named_parameters()]
        layer.load_state_dict(plain.state_dict())
        x = torch.linspace(0, 1, 6).reshape(2, 3)
        for ours, theirs in zip(layer(x), plain(x), strict=True):
            assert torch.equal(ours, theirs)


def test_training_imports_neither_torchs_compiler_nor_sympy() -> None:
    done = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
