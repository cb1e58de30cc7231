"""What NumPy and PyTorch compute for the primitives: TABLE, operator -> function of (inputs, attributes, call)."""
import math

from tn_interop import need

np = need("numpy")
torch = need("torch")
F = torch.nn.functional

NUMPY = {"f64": "<f8", "f32": "<f4", "f16": "<f2", "bf16": "<u2", "i8": "<i1", "i16": "<i2", "i32": "<i4", "i64": "<i8",
         "u8": "<u1", "u16": "<u2", "u32": "<u4", "u64": "<u8", "bool": "?"}
IN_TORCH = {"f64", "f32", "f16", "i8", "i16", "i32", "i64", "u8", "bool"}
TORCH = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "i8": torch.int8,
         "i16": torch.int16, "i32": torch.int32, "i64": torch.int64, "u8": torch.uint8, "bool": torch.bool}
TABLE = {}


def op(*names):
    """Registers what computes the operators of these names from (inputs, attributes, call)."""
    def register(function):
        for name in names:
            assert name not in TABLE, name
            TABLE[name] = function
        return function
    return register


def simple(name, function):
    """An operator without attributes."""
    op(name)(lambda x, a, c: function(*x))


# --- Numbers ------------------------------------------------------------------------------------------------


def bits_to_f32(bits):
    return np.asarray(np.left_shift(bits.astype(np.uint32), np.uint32(16))).view(np.float32)


def as_array(value):
    if isinstance(value, torch.Tensor):
        value = value.detach()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return np.asarray(value)


def is_float(x):
    return isinstance(x, torch.Tensor) and x.is_floating_point()


# --- Element by element -------------------------------------------------------------------------------------

for name, function in {
        "identity": lambda x: x, "stop_gradient": lambda x: x.detach(), "neg": lambda x: -x, "abs": torch.abs,
        "sign": torch.sign, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "reciprocal": torch.reciprocal,
        "sin": torch.sin, "cos": torch.cos, "tanh": torch.tanh, "erf": torch.erf, "floor": torch.floor,
        "ceil": torch.ceil, "round": torch.round, "not": torch.logical_not, "bitwise_not": torch.bitwise_not,
        "isnan": torch.isnan, "isinf": torch.isinf, "add": torch.add, "sub": torch.sub, "mul": torch.mul,
        "equal": torch.eq, "less": torch.lt, "greater": torch.gt, "less_or_equal": torch.le,
        "greater_or_equal": torch.ge, "and": torch.logical_and, "or": torch.logical_or, "xor": torch.logical_xor,
        "bitwise_and": torch.bitwise_and, "bitwise_or": torch.bitwise_or, "bitwise_xor": torch.bitwise_xor,
        "max": torch.maximum, "min": torch.minimum, "where": torch.where, "relu": F.relu, "sigmoid": torch.sigmoid,
        "log_sigmoid": F.logsigmoid, "silu": F.silu, "softplus": F.softplus, "softsign": F.softsign, "mish": F.mish,
        "hard_swish": F.hardswish, "square": torch.square, "rsqrt": torch.rsqrt, "tan": torch.tan, "sinh": torch.sinh,
        "cosh": torch.cosh, "expm1": torch.expm1, "log1p": torch.log1p}.items():
    simple(name, function)


@op("div")
def div(x, a, c):
    return torch.div(*x) if is_float(x[0]) else torch.div(*x, rounding_mode="trunc")


def whole_pow(a, b):
    if b >= 0:
        return a**b
    return 1 if a == 1 else (-1 if b % 2 else 1) if a == -1 else 0


@op("pow")
def power(x, a, c):
    if is_float(x[0]):
        return torch.pow(*x)
    p, q = np.broadcast_arrays(x[0].numpy(), x[1].numpy())
    bits = p.dtype.itemsize * 8
    values = [whole_pow(int(i), int(j)) % 2**bits for i, j in zip(p.ravel(), q.ravel())]
    return np.array(values, np.uint64).astype(p.dtype).reshape(p.shape)


@op("mod")
def mod(x, a, c):
    return torch.fmod(*x) if a["fmod"] else torch.remainder(*x)


@op("bit_shift")
def bit_shift(x, a, c):
    p, q = (i.numpy().astype(np.uint64) for i in x)
    bits = x[0].numpy().dtype.itemsize * 8
    moved = np.left_shift(p, q) if a["direction"] == "left" else np.right_shift(p, q)
    return np.where(q >= bits, 0, moved).astype(x[0].numpy().dtype)


@op("cast")
def cast(x, a, c):
    to = a["to"]
    if to in TORCH and TORCH[to].is_floating_point:
        return x[0].to(TORCH[to])
    values = x[0].detach().numpy()
    if to == "bool":
        return values != 0
    if values.dtype.kind == "f":
        info = np.iinfo(NUMPY[to])
        values = np.clip(np.trunc(values.astype(np.float64)), float(info.min), float(info.max))
    return values.astype(NUMPY[to])


@op("bitcast")
def bitcast(x, a, c):
    values = x[0].detach().numpy()
    moved = np.ascontiguousarray(values).view(NUMPY[a["to"]]).reshape(values.shape)
    return bits_to_f32(moved) if a["to"] == "bf16" else moved


@op("leaky_relu")
def leaky_relu(x, a, c):
    return F.leaky_relu(x[0], a["alpha"])


@op("elu")
def elu(x, a, c):
    return F.elu(x[0], a["alpha"])


@op("celu")
def celu(x, a, c):
    # PyTorch 1.13 rounds 1 / alpha to f32.
    return torch.where(x[0] > 0, x[0], a["alpha"] * torch.expm1(x[0].clamp(max=0) / a["alpha"]))


@op("selu")
def selu(x, a, c):
    return F.selu(x[0]) if c["variant"] == 0 else a["gamma"] * F.elu(x[0], a["alpha"])


@op("thresholded_relu")
def thresholded_relu(x, a, c):
    return F.threshold(x[0], a["alpha"], 0)


@op("prelu")
def prelu(x, a, c):
    return torch.where(x[0] > 0, x[0], x[0] * x[1])


@op("gelu")
def gelu(x, a, c):
    return F.gelu(x[0], approximate=a["approximate"])


@op("hard_sigmoid")
def hard_sigmoid(x, a, c):
    return torch.clamp(a["alpha"] * x[0] + a["beta"], 0, 1)


@op("clip")
def clip(x, a, c):
    if not is_float(x[0]):
        return np.clip(x[0].numpy(), max(a["min"], -1e9), min(a["max"], 1e9)).astype(x[0].numpy().dtype)
    bounds = [v if abs(v) < 1e308 else math.copysign(math.inf, v) for v in (a["min"], a["max"])]
    return torch.clamp(x[0], *bounds)


@op("call")
def call(x, a, c):
    return x[0] * x[1], x[0] + x[0] * x[1]


@op("fused")
def fused(x, a, c):
    return x[0] * x[1] + x[0]


# Control flow: of the sub-graphs that the samples have.


@op("if")
def if_(x, a, c):
    product, total = x[1] * x[2], x[1] + x[2]
    return (product, total) if x[0].item() else (total, product)


@op("while")
def while_(x, a, c):
    go, y, n, w = x[0].item(), x[1], x[2], x[3]
    while go:
        y, n = y * w, n + 1
        go = n.item() < 4
    return y, n


@op("scan")
def scan(x, a, c):
    h, slices, w = x
    steps = range(len(slices))
    stacked, before = torch.zeros_like(slices), torch.zeros_like(slices)
    for t in reversed(steps) if a["reverse"] else steps:
        before[t], stacked[t] = h, h * slices[t]
        h = h * w + slices[t]
    return (h, stacked, before) if a["save"] else (h, stacked)


# --- Shapes of other values ---------------------------------------------------------------------------------

simple("expand_as", lambda x, like: x.expand(like.shape))
simple("reshape_as", lambda x, like: x.reshape(like.shape))
simple("zeros_like", torch.zeros_like)
simple("ones_like", torch.ones_like)


@op("reduce_to")
def reduce_to(x, a, c):
    return x[0].sum_to_size(x[1].shape) if is_float(x[0]) else as_array(x[0].long().sum_to_size(x[1].shape)).astype(
        x[0].numpy().dtype)


@op("full_like")
def full_like(x, a, c):
    dtype = x[0].dtype if a["dtype"] == "none" else TORCH[a["dtype"]]
    return torch.full(x[0].shape, a["value"]).to(dtype)


@op("size")
def size(x, a, c):
    axes = a["axes"] or range(x[0].dim())
    return np.array(math.prod(x[0].shape[i] for i in axes)).astype(NUMPY[c["out"][0]])


@op("iota")
def iota(x, a, c):
    return np.arange(x[0].shape[a["axis"]]).astype(NUMPY[c["out"][0]])


# --- Reductions ---------------------------------------------------------------------------------------------


def axes_of(x, a):
    return tuple(i % x.dim() for i in a["axes"]) if a["axes"] else tuple(range(x.dim()))


def kept(function):
    """A reduction over axes that keeps them, as ONNX's: keepdims takes them away afterwards."""
    def reduce(x, a, c):
        axes = axes_of(x[0], a)
        y = function(x[0], axes) if axes else function(x[0].reshape(1), (0,)).reshape(())
        shape = [n for i, n in enumerate(y.shape) if i not in axes]
        return y if a["keepdims"] else y.reshape(shape)
    return reduce


def prod(x, axes):
    for i in axes:
        x = torch.prod(x, i, keepdim=True, dtype=x.dtype)
    return x


def largest(x, axes, sign):
    if x.dtype == torch.bool:
        both = x.any if sign > 0 else x.all
        return torch.from_numpy((np.any if sign > 0 else np.all)(x.numpy(), axis=axes, keepdims=True)) if both else None
    if is_float(x):
        if x.numel():
            return (torch.amax if sign > 0 else torch.amin)(x, axes, keepdim=True)
        least = -math.inf
    else:
        least = np.iinfo(x.numpy().dtype).min if sign > 0 else np.iinfo(x.numpy().dtype).max
        return torch.from_numpy((np.max if sign > 0 else np.min)(x.numpy(), axis=axes, keepdims=True, initial=least))
    shape = [1 if i in axes else n for i, n in enumerate(x.shape)]
    return torch.full(shape, least * sign, dtype=x.dtype)


op("reduce_sum")(kept(lambda x, axes: torch.sum(x, axes, keepdim=True, dtype=x.dtype)))
op("reduce_prod")(kept(prod))
op("reduce_max")(kept(lambda x, axes: largest(x, axes, 1)))
op("reduce_min")(kept(lambda x, axes: largest(x, axes, -1)))
op("reduce_mean")(kept(lambda x, axes: torch.mean(x, axes, keepdim=True)))
op("reduce_l1")(kept(lambda x, axes: torch.linalg.vector_norm(x, 1, axes, keepdim=True)))
op("reduce_l2")(kept(lambda x, axes: torch.linalg.vector_norm(x, 2, axes, keepdim=True)))
op("reduce_sum_square")(kept(lambda x, axes: torch.sum(x * x, axes, keepdim=True)))
op("reduce_log_sum")(kept(lambda x, axes: torch.log(torch.sum(x, axes, keepdim=True))))
op("reduce_log_sum_exp")(kept(lambda x, axes: torch.logsumexp(x, axes, keepdim=True)))


@op("argmax", "argmin")
def arg(x, a, c):
    function, values = getattr(np, c["op"]), x[0].detach().numpy()
    axis = a["axis"] % values.ndim
    if a["select_last_index"]:
        y = values.shape[axis] - 1 - function(np.flip(values, axis), axis=axis)
    else:
        y = function(values, axis=axis)
    return np.expand_dims(y, axis) if a["keepdims"] else y


@op("cumsum")
def cumsum(x, a, c):
    v, axis = x[0], a["axis"]
    v = v.flip(axis) if a["reverse"] else v
    y = torch.cumsum(v, axis, dtype=v.dtype)
    y = y - v if a["exclusive"] else y
    return y.flip(axis) if a["reverse"] else y


@op("softmax")
def softmax(x, a, c):
    return torch.softmax(x[0], a["axis"])


@op("log_softmax")
def log_softmax(x, a, c):
    return torch.log_softmax(x[0], a["axis"])


@op("softmax_grad")
def softmax_grad(x, a, c):
    return x[0] * (x[1] - (x[0] * x[1]).sum(a["axis"], keepdim=True))


@op("log_softmax_grad")
def log_softmax_grad(x, a, c):
    return x[1] - torch.exp(x[0]) * x[1].sum(a["axis"], keepdim=True)


# --- Movement -----------------------------------------------------------------------------------------------


@op("reshape")
def reshape(x, a, c):
    return x[0].reshape([x[0].shape[i] if n == 0 and not a["allowzero"] else n for i, n in enumerate(a["shape"])])


@op("flatten")
def flatten(x, a, c):
    axis = a["axis"] + x[0].dim() if a["axis"] < 0 else a["axis"]
    return x[0].reshape(math.prod(x[0].shape[:axis]), math.prod(x[0].shape[axis:]))


@op("transpose")
def transpose(x, a, c):
    return x[0].permute(a["perm"] or list(range(x[0].dim()))[::-1])


@op("squeeze")
def squeeze(x, a, c):
    axes = {i % max(x[0].dim(), 1) for i in a["axes"]} or {i for i, n in enumerate(x[0].shape) if n == 1}
    return x[0].reshape([n for i, n in enumerate(x[0].shape) if i not in axes])


@op("unsqueeze")
def unsqueeze(x, a, c):
    rank = x[0].dim() + len(a["axes"])
    axes, sizes = {i % rank for i in a["axes"]}, iter(x[0].shape)
    return x[0].reshape([1 if i in axes else next(sizes) for i in range(rank)])


@op("expand")
def expand(x, a, c):
    ones = torch.empty([1 if n == -1 else n for n in a["shape"]])
    return x[0].expand(torch.broadcast_shapes(x[0].shape, ones.shape))


def slices(x, a):
    places = [slice(None)] * x.dim()
    for k, start in enumerate(a["starts"]):
        axis = a["axes"][k] if a["axes"] else k
        step = a["steps"][k] if a["steps"] else 1
        stop = a["ends"][k]
        stop = None if stop <= -(2**63) and step < 0 else stop
        places[axis] = range(x.shape[axis])[slice(start, stop, step)]
    return places


@op("slice")
def slice_(x, a, c):
    y = x[0]
    for axis, place in enumerate(slices(y, a)):
        if isinstance(place, range):
            y = y.index_select(axis, torch.tensor(list(place), dtype=torch.int64))
    return y


def transposed(function, g, like):
    """The transpose of a linear function, from its gradient; differentiable in g."""
    x = torch.zeros(like.shape, dtype=torch.float64, requires_grad=True)
    wide = g if is_float(g) else g.double()
    (y,) = torch.autograd.grad(function(x), x, wide.double(), create_graph=True, allow_unused=True)
    y = torch.zeros(like.shape, dtype=torch.float64) if y is None else y
    return y.to(g.dtype) if is_float(g) else y.detach().numpy().astype(np.int64).astype(g.numpy().dtype)


@op("unslice")
def unslice(x, a, c):
    if is_float(x[0]):
        return transposed(lambda v: slice_([v], a, c), x[0], x[1])
    out = np.zeros(x[1].shape, x[0].numpy().dtype)
    places = [list(p) if isinstance(p, range) else list(range(n)) for p, n in zip(slices(x[1], a), out.shape)]
    out[np.ix_(*places) if places else ()] = x[0].numpy()
    return out


def limits(dtype):
    info = np.iinfo(dtype)
    return info.min, info.max


@op("pad")
def pad(x, a, c):
    axes = [i % x[0].dim() for i in a["axes"]] if a["axes"] else list(range(x[0].dim()))
    pairs = [(0, 0)] * x[0].dim()
    for k, axis in enumerate(axes):
        pairs[axis] = (a["pads"][k], a["pads"][k + len(axes)])
    if x[0].dtype == torch.bool:
        return F.pad(x[0].byte(), [n for p in reversed(pairs) for n in p], value=a["value"] != 0).bool()
    value = a["value"] if is_float(x[0]) else np.clip(math.trunc(a["value"]), *limits(x[0].numpy().dtype)).item()
    return F.pad(x[0], [n for p in reversed(pairs) for n in p], value=value)


@op("concat")
def concat(x, a, c):
    return torch.cat(x, a["axis"])


@op("concat_part")
def concat_part(x, a, c):
    sizes = [like.shape[a["axis"]] for like in x[1:]]
    return torch.split(x[0], sizes, a["axis"])[a["index"]]


@op("split")
def split(x, a, c):
    n = x[0].shape[a["axis"]]
    part = -(-n // a["num_outputs"]) if a["num_outputs"] else 0
    sizes = a["split"] or [max(min(part, n - i * part), 0) for i in range(a["num_outputs"])]
    return torch.split(x[0], sizes, a["axis"])


def windows(x, kernel, strides, dilations):
    n = len(kernel)
    strides, dilations = strides or [1] * n, dilations or [1] * n
    lead = x.dim() - n
    for i in range(n):
        count = (x.shape[lead + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        at = torch.arange(count)[:, None] * strides[i] + torch.arange(kernel[i])[None, :] * dilations[i]
        taken = x.index_select(lead + i, at.reshape(-1))
        x = taken.unflatten(lead + i, (count, kernel[i])).movedim(lead + i + 1, -1)
    return x


@op("window")
def window(x, a, c):
    return windows(x[0], a["kernel_shape"], a["strides"], a["dilations"])


@op("unwindow")
def unwindow(x, a, c):
    return transposed(lambda v: windows(v, a["kernel_shape"], a["strides"], a["dilations"]), x[0], x[1])


# --- Indexing -----------------------------------------------------------------------------------------------


@op("gather")
def gather(x, a, c):
    axis = a["axis"] % x[0].dim()
    return x[0][(slice(None),) * axis + (x[1].long(),)]


@op("scatter_add")
def scatter_add(x, a, c):
    data, at, updates = x[0], x[1].long(), x[2]
    axis, n = a["axis"] % data.dim(), x[1].dim()
    moved = updates.movedim(list(range(axis, axis + n)), list(range(n)))
    return data.movedim(axis, 0).index_put((at,), moved, accumulate=True).movedim(0, axis)


def places(at, data, axis):
    return torch.where(at < 0, at + data.shape[axis], at).long()


@op("gather_elements")
def gather_elements(x, a, c):
    return torch.gather(x[0], a["axis"], places(x[1], x[0], a["axis"]))


@op("scatter_elements")
def scatter_elements(x, a, c):
    at = places(x[1], x[0], a["axis"])
    function = torch.scatter_add if a["reduction"] == "add" else torch.scatter
    return function(x[0], a["axis"], at, x[2])


@op("sort")
def sort(x, a, c):
    return torch.sort(x[0], dim=a["axis"], descending=a["descending"], stable=True)


@op("topk")
def topk(x, a, c):
    values, at = torch.sort(x[0], dim=a["axis"], descending=a["largest"], stable=True)
    return values.narrow(a["axis"], 0, a["k"]), at.narrow(a["axis"], 0, a["k"])


@op("embedding")
def embedding(x, a, c):
    return F.embedding(x[1].long(), x[0], None if a["padding_idx"] < 0 else a["padding_idx"])


@op("one_hot")
def one_hot(x, a, c):
    at = x[0].numpy()
    at = np.where(at < 0, at + a["depth"], at)
    axis = a["axis"] + at.ndim + 1 if a["axis"] < 0 else a["axis"]
    classes = np.arange(a["depth"]).reshape([-1 if i == axis else 1 for i in range(at.ndim + 1)])
    on, off = (np.array(a[k]).astype(NUMPY[a["dtype"]]) for k in ("on", "off"))
    return np.where(np.expand_dims(at, axis) == classes, on, off)


@op("trilu")
def trilu(x, a, c):
    return (torch.triu if a["upper"] else torch.tril)(x[0], a["k"])


@op("arange")
def arange(x, a, c):
    return np.arange(a["start"], a["stop"], a["step"]).astype(NUMPY[a["dtype"]])
