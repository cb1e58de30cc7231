#!/usr/bin/env python3
"""Makes tests/lua/golden_maml.lua: meta-gradients (Finn et al., 2017) of a small network by PyTorch, in f64: through two
steps of gradient descent, and with the gradients of those taken for constants.

    python3 tests/golden/maml.py >tests/lua/golden_maml.lua
"""
import torch

torch.manual_seed(4)
TASKS, K, STEPS, LR = 3, 4, 2, 0.05
SIZES = [1, 5, 4, 1]


def randn(*shape):
    return (torch.randn(shape, dtype=torch.float64) * 64).round() / 64  # short when printed


params = [p for i in range(3) for p in (randn(SIZES[i], SIZES[i + 1]), randn(1, SIZES[i + 1]))]
x1, x2 = randn(TASKS, K, 1), randn(TASKS, K, 1)
y1, y2 = randn(TASKS, K, 1), randn(TASKS, K, 1)


def network(p, x):
    return torch.relu(torch.relu(x @ p[0] + p[1]) @ p[2] + p[3]) @ p[4] + p[5]


def loss_of(p, x, y):
    return (network(p, x) - y).square().mean()


def meta(order):
    p = [w.clone().requires_grad_() for w in params]
    total = 0
    for t in range(TASKS):
        own = p
        for _ in range(STEPS):
            grads = torch.autograd.grad(loss_of(own, x1[t], y1[t]), own, create_graph=order == 2)
            own = [w - LR * g for w, g in zip(own, grads)]
        total = total + loss_of(own, x2[t], y2[t]) / TASKS
    return total, torch.autograd.grad(total, p)


def lists(x):
    return "{ " + ", ".join(map(lists, x)) + " }" if isinstance(x, list) else repr(x)


print(f"-- Made by tests/golden/maml.py with PyTorch {torch.__version__}; do not edit.")
print(f"return {{\n  steps = {STEPS}, lr = {LR},")
for name, x in (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)):
    print(f"  {name} = {lists(x.tolist())},")
print("  params = {")
for p in params:
    print(f"    {lists(p.tolist())},")
print("  },\n  results = {")
for order in (1, 2):
    loss, grads = meta(order)
    print(f"    {{ loss = {loss.item()!r}, grads = {{")
    for g in grads:
        print(f"      {lists(g.tolist())},")
    print("    } },")
print("  },\n}")
