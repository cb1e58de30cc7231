# tn-test: timeout=900
"""The models of configs/models against PyTorch's: the same weights, through a safetensors file, give the same logits, loss
and gradients, and some steps of Adam (AdamW for GPT) later the same losses, weights and answers: as a program, and one
operator at a time."""
import copy
import glob
import os
import tempfile

from tn_interop import SOURCE, main, need, tenon

np = need("numpy")
torch = need("torch")
files = need("safetensors.numpy")
nn, F = torch.nn, torch.nn.functional

torch.set_num_threads(1)
STEPS = 20
NEAR = 1e-4  # relative to the largest element
NARROW = 0.02  # the same for products of bf16, whose numbers are exact to 2^-9


# --- The networks as PyTorch's users write them -------------------------------------------------------------------


def mlp(inputs, first, second, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(),
                         nn.Linear(second, classes))


def lenet():
    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
                         nn.Linear(84, 10))


class Block(nn.Module):
    """torchvision's BasicBlock and Bottleneck: sizes are those of the convolutions' kernels."""

    def __init__(self, inputs, channels, stride, kernels):
        super().__init__()
        out = channels * (4 if len(kernels) == 3 else 1)
        sizes = [inputs] + [channels] * (len(kernels) - 1) + [out]
        self.n = len(kernels)
        for i, k in enumerate(kernels):
            step = stride if i == (1 if self.n == 3 else 0) else 1
            setattr(self, f"conv{i + 1}", nn.Conv2d(sizes[i], sizes[i + 1], k, step, k // 2, bias=False))
            setattr(self, f"bn{i + 1}", nn.BatchNorm2d(sizes[i + 1]))
        self.downsample = None
        if stride > 1 or inputs != out:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = x
        for i in range(1, self.n + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = torch.relu(y) if i < self.n else y
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, kernels, counts, small):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 1, 1, bias=False) if small else nn.Conv2d(3, 4, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        inputs = 4
        for i, n in enumerate(counts):
            blocks = []
            for k in range(n):
                blocks.append(Block(inputs, 4 << i, 2 if i > 0 and k == 0 else 1, kernels))
                inputs = (4 << i) * (4 if len(kernels) == 3 else 1)
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, 7)

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Recurrent(nn.Module):
    def __init__(self, cells, hidden, classes, tokens=None):
        super().__init__()
        self.embedding = nn.Embedding(*tokens) if tokens else None
        self.cells, self.head = cells, nn.Linear(hidden, classes)

    def forward(self, x):
        y, _ = self.cells(x if self.embedding is None else self.embedding(x))
        return self.head(y[:, -1] if self.embedding is None else y)


class GptBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(width, 3 * width), "c_proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = (p.view(n, t, self.heads, -1).transpose(1, 2) for p in self.attn["c_attn"](self.ln_1(x)).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5
        scores = scores.masked_fill(~torch.ones(t, t, dtype=torch.bool).tril(), float("-inf"))
        y = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(n, t, d)
        x = x + self.attn["c_proj"](y)
        h = self.mlp["c_fc"](self.ln_2(x))
        gelu = 0.5 * h * (1 + torch.tanh((2 / np.pi) ** 0.5 * (h + 0.044715 * h ** 3)))
        return x + self.mlp["c_proj"](gelu)


class Gpt(nn.Module):
    def __init__(self, tied, tokens=20, context=12, width=16, heads=4):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(tokens, width), nn.Embedding(context, width)
        self.h = nn.Sequential(*[GptBlock(width, heads) for _ in range(2)])
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = None if tied else nn.Linear(width, tokens, bias=False)

    def forward(self, x):
        x = self.ln_f(self.h(self.wte(x) + self.wpe(torch.arange(x.shape[1]))))
        return F.linear(x, self.wte.weight) if self.lm_head is None else self.lm_head(x)


def shifted(name):
    """Sequential counts from 0, Tenon's lists from 1."""
    first, rest = name.split(".", 1)
    return f"{int(first) + 1}.{rest}"


def recurrent(places):
    """cells.weight_ih_l0 -> 1.layer1.weight_ih; places: where each part is among the layers."""
    def name_of(name):
        part, rest = name.split(".", 1)
        if part == "cells":
            rest, layer = rest.rsplit("_l", 1)
            rest = f"layer{int(layer) + 1}.{rest}"
        return f"{places[part]}.{rest}"
    return name_of


def same(name):
    return name


# name: (network, shape of x, tokens or None, classes, names)
MODELS = {
    "mlp": (lambda: mlp(20, 16, 12, 5), (4, 2, 10), None, 5, shifted),
    "mlp_full": (lambda: mlp(784, 512, 512, 10), (32, 1, 28, 28), None, 10, shifted),
    "lenet": (lenet, (4, 1, 28, 28), None, 10, shifted),
    "resnet18": (lambda: ResNet((3, 3), (2, 2, 2, 2), False), (2, 3, 64, 64), None, 7, same),
    "resnet34": (lambda: ResNet((3, 3), (3, 4, 6, 3), True), (4, 3, 32, 32), None, 7, same),
    "resnet50": (lambda: ResNet((1, 3, 1), (3, 4, 6, 3), True), (4, 3, 16, 16), None, 7, same),
    "lstm": (lambda: Recurrent(nn.LSTM(5, 8, 2, batch_first=True), 8, 6), (3, 7, 5), None, 6,
             recurrent({"cells": 1, "head": 2})),
    "gru": (lambda: Recurrent(nn.GRU(5, 8, batch_first=True), 8, 6), (3, 7, 5), None, 6,
            recurrent({"cells": 1, "head": 2})),
    "lstm_language": (lambda: Recurrent(nn.LSTM(8, 12, batch_first=True), 12, 20, (20, 8)), (3, 9), 20, 20,
                      recurrent({"embedding": 1, "cells": 3, "head": 5})),
    "gpt": (lambda: Gpt(False), (3, 9), 20, 20, same),
    "gpt_tied": (lambda: Gpt(True), (3, 9), 20, 20, same),
    "gpt_full": (lambda: Gpt(True, 256, 128, 256, 8), (2, 64), 256, 256, same),
}


# --- Judging ------------------------------------------------------------------------------------------------------


def distance(got, want):
    """Of the largest difference, as a share of the largest element."""
    want = np.asarray(want.detach() if isinstance(want, torch.Tensor) else want)
    assert got.shape == want.shape, (got.shape, want.shape)
    return np.abs(got - want).max() / max(np.abs(want).max(), 1e-3)


def trained(network, optimiser, x, y):
    """Losses of the steps; the network is changed."""
    losses = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = loss_of(network(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def loss_of(logits, y):
    return F.cross_entropy(logits.flatten(0, -2), y.flatten())


def run(folder, model, eager, tensors, precision="f32"):
    weights = os.path.join(folder, "weights.safetensors")
    files.save_file(tensors, weights)
    done = tenon("run", "--runs", os.path.join(folder, "runs"), os.path.join(SOURCE, "tests/interop/models.lua"),
                 f"model={model}", f"weights={weights}", f"steps={STEPS}", f"eager={str(eager).lower()}",
                 f"precision={precision}")
    assert done.returncode == 0, done.stdout + done.stderr
    return files.load_file(glob.glob(os.path.join(folder, "runs", "models", "*", "checkpoints", "*.safetensors"))[0])


def gradients(network, x, y):
    params = dict(network.named_parameters())
    logits = network(x)
    loss = loss_of(logits, y)
    return logits, loss, dict(zip(params, torch.autograd.grad(loss, params.values())))


def apart(got, want):
    """Of gradients by name: the largest distance and whose it is. Ones that are small beside all others are noise in f32."""
    least = 1e-2 * max(g.abs().max().item() for g in want.values())
    far = {k: np.abs(np.asarray(got[k]) - g.numpy()).max() / max(g.abs().max().item(), least) for k, g in want.items()}
    worst = max(far, key=far.get)
    return far[worst], worst


def shaken(network):
    """Every parameter changed by a few rounding errors of f32."""
    other = copy.deepcopy(network)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1 + 1e-6 * torch.randn(p.shape, dtype=p.dtype))
    return other


def steady(model):
    """A network and a batch whose gradients can be told in f32. Those of a network with many ReLUs jump when an input of one
    that lies as near to 0 as rounding errors are large changes sides."""
    make, shape, tokens, classes, _ = MODELS[model]
    for seed in range(1, 100):
        torch.manual_seed(seed)
        network = make()
        for module in network.modules():  # most inputs of ReLUs away from 0, on either side
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.4, 0.8)
                module.bias.data = torch.randn(module.bias.shape).sign() * 2
        x = torch.randint(tokens, shape) if tokens else torch.randn(shape)
        y = torch.randint(classes, shape if tokens else shape[:1])
        wide, wide_x = copy.deepcopy(network).double(), x if tokens else x.double()
        exact = gradients(copy.deepcopy(wide), wide_x, y)[2]
        if all(apart(gradients(shaken(wide), wide_x, y)[2], exact)[0] <= NEAR / 2 for _ in range(3)):
            return network, x, y
    raise AssertionError("no seed gives gradients that f32 can tell")


losses_of = {}  # model: those of the first run


def agrees(model, eager):
    names = MODELS[model][4]
    network, x, y = steady(model)
    tensors = {"model." + names(k): v.numpy().copy() for k, v in network.state_dict().items() if "num_batches" not in k}
    with tempfile.TemporaryDirectory() as folder:
        got = run(folder, model, eager, {**tensors, "x": x.numpy(), "y": y.numpy()})
    # At once and as a program the same numbers, but for what other kernels round otherwise, and what Adam makes of that.
    other = losses_of.setdefault(model, got["losses"])
    assert np.abs(got["losses"][:2] / other[:2] - 1).max() <= 1e-6, (got["losses"], other)
    apart_by = np.abs(got["losses"] / other - 1).max()

    params = dict(network.named_parameters())
    assert {k[5:] for k in got if k.startswith("grad/")} == {"model." + names(k) for k in params}
    logits, loss, grads = gradients(network, x, y)
    far = max((distance(got["logits"], logits), "logits"), (distance(got["loss"], loss), "loss"),
              apart({k: got["grad/model." + names(k)] for k in grads}, grads))
    assert far[0] <= NEAR, far

    # Adam moves an element whose gradient is noise as far as any other, so weights are judged together, by how far apart
    # PyTorch's own get when they begin with rounding errors between them.
    begin, other = copy.deepcopy(network), shaken(network)
    make_optimiser = torch.optim.AdamW if model.startswith("gpt") else torch.optim.Adam
    losses, others = [np.array(trained(n, make_optimiser(n.parameters(), lr=1e-3), x, y)) for n in (network, other)]
    # A loss near 0 is a difference of numbers near 1, in whose last bits PyTorch's versions differ.
    size = np.maximum(losses, 1e-2 * losses[0])
    lost, drift = ((np.abs(these - losses) / size).max() for these in (got["losses"], others))
    assert lost <= max(1e-3, 5 * drift) and lost <= 1e-2, (lost, drift)
    assert losses[-1] < 0.99 * losses[0], losses
    moved, own = (sum((p.detach() - q.detach()).square().sum().item() for p, q in zip(params.values(), n.parameters()))
                  for n in (begin, other))
    off = sum(np.square(got["model." + names(name)] - p.detach().numpy()).sum() for name, p in params.items())
    assert off <= max(1e-6 * moved, 9 * own) and off <= 1e-2 * moved, (off, own, moved)
    network.eval()
    after = distance(got["after"], network(x))
    assert after <= 1e-2, after
    print(f"   {model}{', eager' if eager else ''}: at most {far[0]:.1e} ({far[1]}); {STEPS} steps: losses {lost:.1e}, "
          f"weights {(off / moved) ** 0.5:.1e}, answers {after:.1e}"
          + (f"; from the program's {apart_by:.1e}" if eager else ""))


def share(got, want):
    """Of the difference of all gradients together, as a share of theirs."""
    off = sum(np.square(np.asarray(got[k]) - g.detach().numpy()).sum() for k, g in want.items())
    return (off / sum(g.square().sum().item() for g in want.values())) ** 0.5


def autocast(network, x, y):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return gradients(network, x, y)


def narrow_agrees(model):
    """Products of bf16 against PyTorch's f32: as near as PyTorch's own autocast comes, or nearer than NARROW."""
    names = MODELS[model][4]
    network, x, y = steady(model)
    tensors = {"model." + names(k): v.numpy().copy() for k, v in network.state_dict().items() if "num_batches" not in k}
    with tempfile.TemporaryDirectory() as folder:
        got = run(folder, model, False, {**tensors, "x": x.numpy(), "y": y.numpy()}, "bf16")
    logits, loss, grads = gradients(copy.deepcopy(network), x, y)
    cast_logits, cast_loss, cast_grads = autocast(copy.deepcopy(network), x, y)
    pairs = {"logits": (distance(got["logits"], logits), distance(cast_logits.detach().float().numpy(), logits)),
             "loss": (distance(got["loss"], loss), distance(cast_loss.detach().float().numpy(), loss)),
             "gradients": (share({k: got["grad/model." + names(k)] for k in grads}, grads),
                           share({k: g.float().numpy() for k, g in cast_grads.items()}, grads))}
    make_optimiser = torch.optim.AdamW if model.startswith("gpt") else torch.optim.Adam
    losses = np.array(trained(network, make_optimiser(network.parameters(), lr=1e-3), x, y))
    lost = np.abs(got["losses"] - losses).max() / losses[0]
    print(f"   {model}: " + ", ".join(f"{k} {a:.1e} (autocast {b:.1e})" for k, (a, b) in pairs.items()) +
          f"; {STEPS} steps: losses {lost:.1e}")
    assert all(np.isfinite(v).all() for v in got.values() if v.dtype == np.float32)
    assert all(a <= max(NARROW, 2 * b) for a, b in pairs.values()), pairs
    assert pairs["gradients"][0] <= 0.25 and lost <= 0.05, (pairs, lost)


def programs_agree():
    for model in MODELS:
        agrees(model, False)


def eager_agrees():
    for model in MODELS:
        agrees(model, True)


def bf16_agrees():
    for model in MODELS:
        narrow_agrees(model)


if __name__ == "__main__":
    main([programs_agree, eager_agrees, bf16_agrees])
