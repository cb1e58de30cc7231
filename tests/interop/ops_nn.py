"""The rest of the table: sums of products and what plugins/nn makes of primitives."""
import math

from ops_table import F, NUMPY, as_array, np, op, simple, torch, transposed, windows

# --- Sums of products ---------------------------------------------------------------------------------------

simple("matmul", torch.matmul)
simple("linear", lambda x, w, b=None: F.linear(x, w, b))
simple("linear_turned", lambda x, w, b=None: F.linear(x, w.transpose(1, 2).flatten(0, 1), b))


@op("fused_linear")
def fused_linear(x, a, c):
    x, w, b, more = (x + [None] * 3)[:4]
    y = F.linear(x, w if w.dim() == 2 else w.transpose(1, 2).flatten(0, 1), b)
    y = y if more is None or a["last"] else y + more
    if a["activation"] == "relu":
        y = torch.relu(y)
    elif a["activation"] != "none":
        y = F.gelu(y, approximate="tanh" if a["activation"] == "gelu_tanh" else "none")
    return y + more if more is not None and a["last"] else y


@op("gemm")
def gemm(x, a, c):
    p, q = x[0].t() if a["trans_a"] else x[0], x[1].t() if a["trans_b"] else x[1]
    return a["alpha"] * (p @ q) + (a["beta"] * x[2] if len(x) > 2 and x[2] is not None else 0)


def convolve(x, w, a, bias=None):
    n = x.dim() - 2
    pads = a["pads"] or [0] * 2 * n
    wide = F.pad(x, [p for i in reversed(range(n)) for p in (pads[i], pads[n + i])])
    return [F.conv1d, F.conv2d, F.conv3d][n - 1](wide, w, bias, a["strides"] or 1, 0, a["dilations"] or 1, a["group"])


@op("conv", "conv_bias")
def conv(x, a, c):
    return convolve(x[0], x[1], a, x[2] if len(x) > 2 else None)


@op("conv_blocked")
def conv_blocked(x, a, c):
    images, w, bias, more = (list(x) + [None, None])[:4]
    if w.dim() > images.dim() + 1:  # in pairs: [..., pairs of C, M, 2 of C]
        w = w.transpose(-1, -2).flatten(-3, -2)
    lanes = w.shape[-1]
    if images.dim() == 5:
        images, w = images.permute(0, 1, 4, 2, 3).flatten(1, 2), w.permute(0, 5, 1, 4, 2, 3).flatten(2, 3).flatten(0, 1)
    else:
        w = w.permute(0, 4, 3, 1, 2).flatten(0, 1)
    y = convolve(images, w, a, bias)
    y = y.unflatten(1, (y.shape[1] // lanes, lanes)).permute(0, 1, 3, 4, 2)
    y = y if more is None else y + more
    return torch.relu(y) if a["relu"] else y


@op("conv_winograd")
def conv_winograd(x, a, c):
    back = torch.tensor([[4, 0, 0, 0, 0, 0], [0, -3, 3, 0, 0, 0], [0, 0, 0, 0, 0, 1]], dtype=x[1].dtype)
    u = x[1].unflatten(0, (6, 6))
    w = torch.einsum("ai,bj,ijmcpq->mcabpq", back, back, u)
    return conv_blocked([x[0], w, *x[2:]], {**a, "strides": None, "dilations": None, "group": 1}, c)


def deconvolve(x, w, a, like=None):
    n = x.dim() - 2
    pads, strides, dilations = a["pads"] or [0] * 2 * n, a["strides"] or [1] * n, a["dilations"] or [1] * n
    more = a["output_padding"] or [0] * n
    least = [strides[i] * (x.shape[2 + i] - 1) + dilations[i] * (w.shape[2 + i] - 1) + 1 for i in range(n)]
    if like is not None:
        more = [like.shape[2 + i] + pads[i] + pads[n + i] - least[i] for i in range(n)]
    y = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][n - 1](x, w, None, strides, 0, 0, a["group"],
                                                                            dilations)
    return F.pad(y, [p for i in reversed(range(n)) for p in (-pads[i], more[i] - pads[n + i])])


@op("conv_transpose")
def conv_transpose(x, a, c):
    return deconvolve(x[0], x[1], a, x[2] if len(x) > 2 else None)


@op("conv_transpose_bias")
def conv_transpose_bias(x, a, c):
    return deconvolve(x[0], x[1], a) + x[2].reshape([-1] + [1] * (x[0].dim() - 2))


@op("conv_grad_weight")
def conv_grad_weight(x, a, c):
    w = torch.zeros(x[2].shape, dtype=x[0].dtype, requires_grad=True)
    (g,) = torch.autograd.grad(convolve(x[0], w, a), w, x[1], create_graph=True)
    return g


# --- Numbers of 8 bits --------------------------------------------------------------------------------------


def whole(x):
    """As numbers that NumPy and PyTorch compute with exactly."""
    return torch.from_numpy(np.asarray(x).astype(np.float64)) if not isinstance(x, torch.Tensor) else x.double()


def beside(p, axis, rank):
    """A scale or zero point as it broadcasts with a tensor of that rank."""
    p = whole(p)
    return p if p.dim() == 0 else p.reshape([-1] + [1] * (rank - 1 - axis % rank))


def saturated(steps, zero, dtype):
    low, high = (0, 255) if dtype == "u8" else (-128, 127)
    return np.clip(np.round(as_array(steps).astype(np.float32)) + np.float32(zero), low, high).astype(NUMPY[dtype])


def absent(x, i):
    return i >= len(x) or x[i] is None


@op("quantize_linear")
def quantize_linear(x, a, c):
    rank = x[0].dim()
    zero = 0 if absent(x, 2) else as_array(beside(x[2], a["axis"], rank))
    return saturated(x[0] / beside(x[1], a["axis"], rank).float(), zero, c["out"][0])


@op("dequantize_linear")
def dequantize_linear(x, a, c):
    rank = np.ndim(x[0])
    zero = 0 if absent(x, 2) else beside(x[2], a["axis"], rank)
    return (whole(x[0]) - zero) * beside(x[1], a["axis"], rank)


def less(x, zero, axis):
    return whole(x) - (0 if zero is None else beside(zero, axis, np.ndim(x)))


@op("conv_integer")
def conv_integer(x, a, c):
    x = list(x) + [None, None]
    return as_array(convolve(less(x[0], x[2], 1), less(x[1], x[3], 0), a)).astype(np.int32)


@op("matmul_integer")
def matmul_integer(x, a, c):
    x = list(x) + [None, None]
    return as_array(less(x[0], x[2], -2) @ less(x[1], x[3], -1)).astype(np.int32)


def requantised(sums, x, axis, c):
    scale = x[1] * beside(x[4], axis, sums.dim()).float() / x[6]
    return saturated(sums.float() * scale, as_array(whole(x[7])), c["out"][0])


@op("qlinear_conv")
def qlinear_conv(x, a, c):
    sums = convolve(less(x[0], x[2], 1), less(x[3], x[5], 0), a, None if absent(x, 8) else whole(x[8]))
    return requantised(sums, x, 1, c)


@op("qlinear_matmul")
def qlinear_matmul(x, a, c):
    return requantised(less(x[0], x[2], -2) @ less(x[3], x[5], -1), x, -1, c)


@op("quantized_conv")
def quantized_conv(x, a, c):
    x = list(x) + [None] * (11 - len(x))
    kernel, channels, maps = a["kernel_shape"] or [1], a["channels"], a["maps"]
    length = kernel[-1] * channels
    w = whole(x[1]).permute(0, 4, 1, 2, 3, 5).flatten(3).flatten(0, 1)[:maps].flatten(2)[:, :, :length]
    w = w.reshape([maps, *kernel, channels]).movedim(-1, 1)
    images = whole(x[0]) if a["kernel_shape"] else whole(x[0]).unsqueeze(1)
    n, pads = len(kernel), a["pads"] or [0] * 2 * len(kernel)
    around = [p for i in reversed(range(n)) for p in (pads[i], pads[n + i])]
    images = F.pad(images.movedim(-1, 1), around, value=float(whole(x[2])))
    sums = convolve(images, w, {**a, "pads": None, "group": 1}).movedim(1, -1) + whole(x[3])
    sums = sums if a["kernel_shape"] else sums.squeeze(1)
    y = sums.float() * x[4] + x[5]
    if x[6] is not None:
        y = y + (x[6] if x[7] is None else (whole(x[6]) - whole(x[8])).float() * x[7])
    y = torch.relu(y) if a["relu"] else y
    return y if x[9] is None else saturated(y * (1 / x[9]), as_array(whole(x[10])), "u8")


@op("from_channels_last")
def from_channels_last(x, a, c):
    return np.moveaxis(as_array(x[0]), -1, 1)


# --- Pooling ------------------------------------------------------------------------------------------------


def pooled(x, a, kind):
    """By windows of what was padded; PyTorch's own pooling where it can say the same."""
    n = len(a["kernel_shape"])
    kernel, pads = a["kernel_shape"], a["pads"] or [0] * 2 * n
    strides, dilations = a["strides"] or [1] * n, a["dilations"] or [1] * n
    same = pads[:n] == pads[n:] and all(2 * p <= k for p, k in zip(pads, kernel)) and x.numel()
    if same and kind == "max":
        return [F.max_pool1d, F.max_pool2d, F.max_pool3d][n - 1](x, kernel, strides, pads[:n], dilations,
                                                                  a["ceil_mode"])
    if same and dilations == [1] * n:
        return [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][n - 1](x, kernel, strides, pads[:n], a["ceil_mode"],
                                                                  a["count_include_pad"])
    own = [p for i in reversed(range(n)) for p in (pads[i], pads[n + i])]
    more = [p for i in reversed(range(n)) for p in (0, min(strides[i] - 1, dilations[i] * (kernel[i] - 1) - pads[n + i])
                                                    if a["ceil_mode"] else 0)]

    def sight(v, inside, outside):
        return windows(F.pad(F.pad(v, own, value=inside), more, value=outside), kernel, strides, dilations)
    last = tuple(range(-n, 0))
    if kind == "max":
        # Not amax, which shares its gradient out among equal elements.
        return sight(x, -math.inf, -math.inf).flatten(-n).max(-1).values
    count = sight(torch.ones_like(x), float(a["count_include_pad"]), 0.0).sum(last)
    return sight(x, 0.0, 0.0).sum(last) / count


@op("max_pool", "average_pool")
def pool(x, a, c):
    y = pooled(x[0] if x[0].dtype.is_floating_point else x[0].double(), a, c["op"][:3])
    return y if x[0].dtype.is_floating_point else as_array(y).astype(NUMPY[c["out"][0]])


@op("max_pool_grad")
def max_pool_grad(x, a, c):
    inner = x[0].detach().requires_grad_()
    (g,) = torch.autograd.grad(pooled(inner, a, "max"), inner, x[1], create_graph=True)
    return g


@op("average_pool_grad")
def average_pool_grad(x, a, c):
    inner = torch.zeros(x[1].shape, dtype=x[0].dtype, requires_grad=True)
    (g,) = torch.autograd.grad(pooled(inner, a, "ave"), inner, x[0], create_graph=True)
    return g


simple("global_average_pool", lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True))
simple("global_max_pool", lambda x: x.amax(tuple(range(2, x.dim())), keepdim=True))

# --- Normalisation ------------------------------------------------------------------------------------------


@op("batch_normalization")
def batch_normalization(x, a, c):
    if not x[3].requires_grad:
        return F.batch_norm(x[0], x[3], x[4], x[1], x[2], False, 0, a["epsilon"])
    scale, bias, mean, var = (v.reshape([-1] + [1] * (x[0].dim() - 2)) for v in x[1:])
    return (x[0] - mean) / torch.sqrt(var + a["epsilon"]) * scale + bias


@op("batch_normalization_training")
def batch_normalization_training(x, a, c):
    axes = [i for i in range(x[0].dim()) if i != 1]
    y = F.batch_norm(x[0], None, None, x[1], x[2], True, 0, a["epsilon"])
    return y, x[0].mean(axes), x[0].var(axes, unbiased=False)


@op("batch_normalization_grad")
def batch_normalization_grad(x, a, c):
    axes = [i for i in range(x[0].dim()) if i != 1]
    scale, mean, var = (v.reshape([-1] + [1] * (x[0].dim() - 2)) for v in x[1:4])
    h, g = (x[0] - mean) / torch.sqrt(var + a["epsilon"]), x[4]
    dx = scale / torch.sqrt(var + a["epsilon"]) * (g - g.mean(axes, True) - h * (g * h).mean(axes, True))
    return dx, (g * h).sum(axes), g.sum(axes)


def features(x, a):
    return list(range(a["axis"] % x.dim(), x.dim()))


@op("layer_normalization")
def layer_normalization(x, a, c):
    axes = features(x[0], a)
    y = F.layer_norm(x[0], [x[0].shape[i] for i in axes], x[1], x[2] if len(x) > 2 else None, a["epsilon"])
    return y, x[0].mean(axes, True), torch.rsqrt(x[0].var(axes, unbiased=False, keepdim=True) + a["epsilon"])


@op("layer_normalization_grad")
def layer_normalization_grad(x, a, c):
    axes = features(x[0], a)
    lead = tuple(range(x[0].dim() - len(axes)))
    h, g = (x[0] - x[2]) * x[3], x[4]
    gs = g * x[1]
    dx = x[3] * (gs - gs.mean(axes, True) - h * (gs * h).mean(axes, True))
    return dx, (g * h).sum(lead) if lead else g * h, g.sum(lead) if lead else g


@op("rms_normalization")
def rms_normalization(x, a, c):
    mean = (x[0] * x[0]).mean(features(x[0], a), True)
    return x[0] * torch.rsqrt(mean + a["epsilon"]) * x[1]


@op("rms_normalization_grad")
def rms_normalization_grad(x, a, c):
    axes = features(x[0], a)
    lead = tuple(range(x[0].dim() - len(axes)))
    inverse = torch.rsqrt((x[0] * x[0]).mean(axes, True) + a["epsilon"])
    h, gs = x[0] * inverse, x[2] * x[1]
    dx = inverse * (gs - h * (gs * h).mean(axes, True))
    return dx, (x[2] * h).sum(lead) if lead else x[2] * h


@op("group_normalization")
def group_normalization(x, a, c):
    return F.group_norm(x[0], a["num_groups"], x[1], x[2], a["epsilon"])


@op("instance_normalization")
def instance_normalization(x, a, c):
    return F.instance_norm(x[0], None, None, x[1], x[2], True, 0, a["epsilon"])


# --- Losses -------------------------------------------------------------------------------------------------

op("mse_loss")(lambda x, a, c: F.mse_loss(*x, reduction=a["reduction"]))
op("l1_loss")(lambda x, a, c: F.l1_loss(*x, reduction=a["reduction"]))
op("huber_loss")(lambda x, a, c: F.huber_loss(*x, reduction=a["reduction"], delta=a["delta"]))
op("smooth_l1_loss")(lambda x, a, c: F.smooth_l1_loss(*x, reduction=a["reduction"], beta=a["beta"]))
op("kl_div")(lambda x, a, c: F.kl_div(*x, reduction=a["reduction"], log_target=a["log_target"]))


@op("bce_with_logits")
def bce_with_logits(x, a, c):
    weight, pos_weight = (x + [None, None])[2:4]
    if not any(v is not None and v.requires_grad for v in (weight, pos_weight)):
        return F.binary_cross_entropy_with_logits(x[0], x[1], weight, None, None, a["reduction"], pos_weight)
    loss = -(1 if pos_weight is None else pos_weight) * x[1] * F.logsigmoid(x[0]) - (1 - x[1]) * F.logsigmoid(-x[0])
    loss = loss if weight is None else loss * weight
    return {"mean": torch.mean, "sum": torch.sum, "none": lambda v: v}[a["reduction"]](loss)


@op("cross_entropy")
def cross_entropy(x, a, c):
    return F.cross_entropy(x[0], x[1].long(), x[2] if len(x) > 2 else None, ignore_index=a["ignore_index"],
                           reduction=a["reduction"], label_smoothing=a["label_smoothing"])


@op("nll_loss")
def nll_loss(x, a, c):
    return F.nll_loss(x[0], x[1].long(), x[2] if len(x) > 2 else None, ignore_index=a["ignore_index"],
                      reduction=a["reduction"])


@op("cross_entropy_grad")
def cross_entropy_grad(x, a, c):
    logits = x[0] if x[0].requires_grad else x[0].detach().requires_grad_()
    (g,) = torch.autograd.grad(cross_entropy([logits] + x[1:3], a, c), logits, x[3], create_graph=True)
    return g


@op("gelu_grad")
def gelu_grad(x, a, c):
    z = x[0] if x[0].requires_grad else x[0].detach().requires_grad_()
    (g,) = torch.autograd.grad(F.gelu(z, approximate=a["approximate"]), z, x[1], create_graph=True)
    return g


# --- Attention, cells ---------------------------------------------------------------------------------------


def scores_of(q, k, mask, a):
    scores = q @ k.transpose(-1, -2) * (a["scale"] or 1 / math.sqrt(q.shape[-1]))
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    if a["causal"]:
        scores = scores.masked_fill(~torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), -math.inf)
    return scores


def shares_of(scores, log_sum):
    """Of a row that attends to nothing they are 0, as in torch.nn.functional from 2.5 on."""
    return torch.exp(scores - torch.where(log_sum == -math.inf, torch.zeros_like(log_sum), log_sum))


@op("scaled_dot_product_attention")
def attention(x, a, c):
    q, k, v, mask = given(x, 4)
    scores = scores_of(q, k, mask, a)
    log_sum = torch.logsumexp(scores, -1, keepdim=True)
    return shares_of(scores, log_sum) @ v, log_sum


@op("scaled_dot_product_attention_grad")
def attention_grad(x, a, c):
    q, k, v, out, log_sum, g, mask = given(x, 7)
    p = shares_of(scores_of(q, k, mask, a), log_sum)
    ds = p * (g @ v.transpose(-1, -2) - (g * out).sum(-1, keepdim=True)) * (a["scale"] or 1 / math.sqrt(q.shape[-1]))
    grads = ds @ k, ds.transpose(-1, -2) @ q, p.transpose(-1, -2) @ g
    return tuple(d.sum_to_size(like.shape) for d, like in zip(grads, (q, k, v)))


@op("rnn_cell")
def rnn_cell(x, a, c):
    function = torch._VF.rnn_relu_cell if a["nonlinearity"] == "relu" else torch._VF.rnn_tanh_cell
    return function(*(x + [None, None])[:6])


@op("lstm_cell")
def lstm_cell(x, a, c):
    return torch._VF.lstm_cell(x[0], (x[1], x[2]), *(x + [None, None])[3:7])


@op("gru_cell")
def gru_cell(x, a, c):
    return torch._VF.gru_cell(*(x + [None, None])[:6])


def given(x, n):
    """n inputs, None for those that the call has not."""
    return (list(x) + [None] * n)[:n]


def added(x, w, *biases):
    return sum((b for b in biases if b is not None), x @ w.t())


# PyTorch's cells, one step after another; what the gates are is said beside them.


@op("rnn")
def rnn(x, a, c):
    v, h, w_ih, w_hh, b_ih, b_hh = given(x, 6)
    out, function = [], torch.relu if a["nonlinearity"] == "relu" else torch.tanh
    for t in range(a["steps"]):
        h = function(added(v[t], w_ih, b_ih) + added(h, w_hh, b_hh))
        out.append(h)
    return torch.stack(out)


@op("lstm")
def lstm(x, a, c):
    v, h, cell, w_ih, w_hh, b_ih, b_hh = given(x, 7)
    out, cells, gates = [], [], []
    for t in range(a["steps"]):
        i, f, g, o = (added(v[t], w_ih, b_ih) + added(h, w_hh, b_hh)).chunk(4, -1)
        gates.append(torch.cat([torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)], -1))
        h, cell = torch._VF.lstm_cell(v[t], (h, cell), w_ih, w_hh, b_ih, b_hh)
        out.append(h)
        cells.append(cell)
    return torch.stack(out), torch.stack(cells), torch.stack(gates)


@op("gru")
def gru(x, a, c):
    v, h, w_ih, w_hh, b_ih, b_hh = given(x, 6)
    out, gates = [], []
    for t in range(a["steps"]):
        p, q = added(v[t], w_ih, b_ih).chunk(3, -1), added(h, w_hh, b_hh).chunk(3, -1)
        r, z = torch.sigmoid(p[0] + q[0]), torch.sigmoid(p[1] + q[1])
        gates.append(torch.cat([r, z, torch.tanh(p[2] + r * q[2]), q[2]], -1))
        h = torch._VF.gru_cell(v[t], h, w_ih, w_hh, b_ih, b_hh)
        out.append(h)
    return torch.stack(out), torch.stack(gates)


def back(a, dh, step):
    """step(t, dh) gives tensors of step t, then the gradient of the state before it: from the last step to the first."""
    all_steps = []
    for t in reversed(range(a["steps"])):
        *made, dh = step(t, dh)
        all_steps.insert(0, made)
    return [torch.stack(made) for made in zip(*all_steps)] + [dh]


@op("rnn_grad")
def rnn_grad(x, a, c):
    w_hh, h, out, g = x

    def step(t, dh):
        slope = (out[t] > 0).to(out.dtype) if a["nonlinearity"] == "relu" else 1 - out[t] ** 2
        sums = (g[t] + dh) * slope
        return sums, sums @ w_hh
    return back(a, torch.zeros_like(h), step)


@op("lstm_grad")
def lstm_grad(x, a, c):
    w_hh, first, cells, gates, g, g_cells = given(x, 6)
    dc = torch.zeros_like(first)

    def step(t, dh):
        nonlocal dc
        i, f, n, o = gates[t].chunk(4, -1)
        before, squashed = cells[t - 1] if t else first, torch.tanh(cells[t])
        dh = dh + g[t]
        dc = dc + dh * o * (1 - squashed ** 2) + (0 if g_cells is None else g_cells[t])
        sums = torch.cat([dc * n * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - n ** 2),
                          dh * squashed * o * (1 - o)], -1)
        dc = dc * f
        return sums, sums @ w_hh
    sums, dh = back(a, torch.zeros_like(first), step)
    return sums, dh, dc


@op("gru_grad")
def gru_grad(x, a, c):
    w_hh, first, out, gates, g = x

    def step(t, dh):
        r, z, n, q = gates[t].chunk(4, -1)
        before = out[t - 1] if t else first
        dh = dh + g[t]
        dn = dh * (1 - z) * (1 - n ** 2)
        dz, dr = dh * (before - n) * z * (1 - z), dn * q * r * (1 - r)
        of_h = torch.cat([dr, dz, dn * r], -1)
        return torch.cat([dr, dz, dn], -1), of_h, dh * z + of_h @ w_hh
    return back(a, torch.zeros_like(first), step)


# --- Optimisers: PyTorch's own, one step --------------------------------------------------------------------


def stepped(make, x, state):
    """The parameter after one step of an optimiser that finds `state`, and that state."""
    param = torch.nn.Parameter(x[0].detach().clone())
    param.grad = x[1].detach().clone()
    optimiser = make([param])
    optimiser.state[param] = {k: v.detach().clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()}
    optimiser.step()
    return param.detach(), optimiser.state[param]


@op("sgd_step")
def sgd_step(x, a, c):
    state = {"momentum_buffer": x[3]} if len(x) > 3 else {}
    param, state = stepped(lambda p: torch.optim.SGD(p, float(x[2]), a["momentum"], 0, a["weight_decay"],
                                                     a["nesterov"] and len(x) > 3), x, state)
    return (param, state["momentum_buffer"]) if len(x) > 3 else param


@op("adam_step", "adamw_step")
def adam_step(x, a, c):
    kind = torch.optim.Adam if c["op"] == "adam_step" else torch.optim.AdamW
    state = {"step": torch.tensor(float(x[5]) - 1, dtype=torch.float64), "exp_avg": x[2], "exp_avg_sq": x[3]}
    betas = float(a["beta1"]), float(a["beta2"])
    param, state = stepped(lambda p: kind(p, float(x[4]), betas, a["eps"], a["weight_decay"]), x, state)
    return param, state["exp_avg"], state["exp_avg_sq"]


@op("adam_product_step", "adamw_product_step")
def adam_product_step(x, a, c):
    return adam_step([x[2], x[0] @ x[1]] + x[3:], a, {**c, "op": c["op"].replace("product_", "")})


@op("lamb_step")
def lamb_step(x, a, c):
    param, grad, mean, square, lr, step = (np.float64(as_array(v)) for v in x)
    mean = a["beta1"] * mean + (1 - a["beta1"]) * grad
    square = a["beta2"] * square + (1 - a["beta2"]) * grad**2
    way = mean / (1 - a["beta1"]**step) / (np.sqrt(square / (1 - a["beta2"]**step)) + a["eps"])
    way = way + a["weight_decay"] * param
    have, go = np.linalg.norm(param), np.linalg.norm(way)
    trust = have / go if have > 0 and go > 0 else 1
    return param - lr * trust * way, mean, square


@op("rmsprop_step")
def rmsprop_step(x, a, c):
    rest = x[4:] + [None, None]
    state = {"step": torch.tensor(0.0), "square_avg": x[2], "grad_avg": rest[0], "momentum_buffer": rest[1]}
    param, state = stepped(lambda p: torch.optim.RMSprop(p, float(x[3]), a["alpha"], a["eps"], a["weight_decay"],
                                                         a["momentum"], a["centered"]), x, state)
    return [param] + [state[k] for k in ("square_avg", "grad_avg", "momentum_buffer") if state[k] is not None]


DETACHED = {"sgd_step", "adam_step", "adamw_step", "adam_product_step", "adamw_product_step", "lamb_step", "rmsprop_step",
            "max_pool_grad"}

# --- Random numbers: Philox 4x32-10, written from the paper -------------------------------------------------

M64 = 2**64 - 1


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & M64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & M64
    return x ^ (x >> 31)


def stream_of(name):
    x = 0xCBF29CE484222325
    for byte in name.encode():
        x = (x ^ byte) * 0x100000001B3 & M64
    return mix(x)


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & 0xFFFFFFFF, (p >> 32) ^ c[3] ^ k[1], p & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def words(key, stream, n):
    seed, step = (int(v) for v in key)
    k = mix(mix((seed + 0x9E3779B97F4A7C15) & M64) ^ stream)
    found = []
    for block in range(-(-n // 4)):
        found += philox([block & 0xFFFFFFFF, block >> 32, step & 0xFFFFFFFF, step >> 32], [k & 0xFFFFFFFF, k >> 32])
    return np.array(found[:n], np.uint64)


def units(key, stream, n, dtype):
    if dtype == "f32":
        return (words(key, stream, n) >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)
    pairs = words(key, stream, 2 * n)
    return ((pairs[1::2] << np.uint64(32) | pairs[::2]) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def drawn_shape(x, a):
    return tuple(x[1].shape) if len(x) > 1 and x[1] is not None else tuple(a["shape"])


@op("random_bits")
def random_bits(x, a, c):
    shape, wide = drawn_shape(x, a), c["out"][0] == "u64"
    n = math.prod(shape)
    w = words(x[0], a["stream"], 2 * n if wide else n)
    return (w[1::2] << np.uint64(32) | w[::2] if wide else w.astype(np.uint32)).reshape(shape)


@op("random_uniform")
def random_uniform(x, a, c):
    shape, dtype = drawn_shape(x, a), c["out"][0]
    one = np.dtype(NUMPY[dtype]).type
    u = units(x[0], a["stream"], math.prod(shape), dtype)
    return (one(a["low"]) + u * one(a["high"] - a["low"])).reshape(shape)


@op("random_normal")
def random_normal(x, a, c):
    shape, dtype = drawn_shape(x, a), c["out"][0]
    one = np.dtype(NUMPY[dtype]).type
    n = math.prod(shape)
    u = units(x[0], a["stream"], n + n % 2, dtype)
    radius, angle = np.sqrt(-2 * np.log(1 - u[::2])), one(2 * np.pi) * u[1::2]
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)[:n]
    return (one(a["mean"]) + one(a["scale"]) * z).reshape(shape)


def uniform_inside(name, x):
    n = math.prod(x[0].shape)
    return units(x[1], stream_of(name + ".random_uniform"), n, "f32").reshape(x[0].shape)


@op("dropout")
def dropout(x, a, c):
    if not a["training"] or a["p"] == 0:
        return x[0], np.ones(x[0].shape, bool)
    kept_places = uniform_inside("dropout", x) >= np.float32(a["p"])
    scale = 1 / (1 - a["p"]) if a["p"] < 1 else 0
    return x[0] * torch.from_numpy(kept_places) * scale, kept_places


@op("bernoulli")
def bernoulli(x, a, c):
    return (uniform_inside("bernoulli", x) < x[0].detach().numpy().astype(np.float32)).astype(NUMPY[c["out"][0]])


@op("random_categorical")
def random_categorical(x, a, c):
    u = uniform_inside("random_categorical", x)
    with np.errstate(divide="ignore"):
        return np.argmax(x[0].detach().numpy() - np.log(-np.log(u)), -1)
