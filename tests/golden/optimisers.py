#!/usr/bin/env python3
"""Makes tests/lua/golden_optimisers.lua: parameters after some updates by PyTorch's optimisers, in f64.

    python3 tests/golden/optimisers.py >tests/lua/golden_optimisers.lua
"""
import numpy
import torch

STEPS = 7
PARAMS = [
    {"start": [0.5, -1.5, 2.0], "a": [1.0, 0.5, 2.0], "b": [0.1, -0.2, 0.3]},
    {"start": [-0.25, 3.0], "a": [0.3, 1.5], "b": [-1.0, 0.0]},
]
O = torch.optim
CASES = {
    "sgd": lambda p: O.SGD(p, 0.1),
    "sgd_momentum": lambda p: O.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "sgd_nesterov": lambda p: O.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: O.Adam(p, 0.05),
    "adam_decay": lambda p: O.Adam(p, 0.05, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1),
    "adamw": lambda p: O.AdamW(p, 0.05, weight_decay=0.1),
    "rmsprop": lambda p: O.RMSprop(p, 0.02),
    "rmsprop_centered": lambda p: O.RMSprop(p, 0.02, alpha=0.9, momentum=0.5, centered=True, weight_decay=0.01),
    "adam_step": lambda p: O.Adam(p, 0.05),
    "clip_norm": lambda p: O.SGD(p, 0.1),
    "clip_value": lambda p: O.SGD(p, 0.1),
    "lamb": lambda p: Lamb(p, 0.05),
    "lamb_decay": lambda p: Lamb(p, 0.05, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.1),
}


class Lamb(O.Optimizer):
    """You et al., "Large batch optimization for deep learning" (arXiv 1904.00962), algorithm 2 with phi the identity;
    PyTorch has none. NumPy computes, so that nothing is shared with what is judged."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state, (beta1, beta2) = self.state[p], group["betas"]
                x, g = p.detach().numpy(), p.grad.numpy()
                state["t"] = t = state.get("t", 0) + 1
                state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
                state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
                r = (state["m"] / (1 - beta1**t)) / (numpy.sqrt(state["v"] / (1 - beta2**t)) + group["eps"])
                way = r + group["weight_decay"] * x
                x -= group["lr"] * numpy.linalg.norm(x) / numpy.linalg.norm(way) * way


def run(name):
    params = [torch.tensor(row["start"], dtype=torch.float64, requires_grad=True) for row in PARAMS]
    optimizer = CASES[name](params)
    schedule = O.lr_scheduler.StepLR(optimizer, 3, 0.5) if name == "adam_step" else None
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = sum(
            (torch.tensor(row["a"], dtype=torch.float64) * p * p / 2 + torch.tensor(row["b"], dtype=torch.float64) * p).sum()
            for row, p in zip(PARAMS, params)
        )
        loss.backward()
        if name == "clip_norm":
            # The norm in f32, as ours; PyTorch's rule otherwise.
            torch.nn.utils.clip_grad_norm_(params, 0.5)
        elif name == "clip_value":
            torch.nn.utils.clip_grad_value_(params, 0.3)
        optimizer.step()
        if schedule:
            schedule.step()
    return [p.detach().tolist() for p in params]


def numbers(row):
    return "{ " + ", ".join(repr(x) for x in row) + " }"


print(f"-- Made by tests/golden/optimisers.py with PyTorch {torch.__version__}; do not edit.")
print(f"return {{\n  steps = {STEPS},\n  params = {{")
for row in PARAMS:
    print("    { " + ", ".join(f"{key} = {numbers(value)}" for key, value in row.items()) + " },")
print("  },\n  results = {")
for name in CASES:
    print(f"    {name} = {{ " + ", ".join(numbers(row) for row in run(name)) + " },")
print("  },\n}")
