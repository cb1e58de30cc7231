"""Writes ops.txt: what NumPy (and PyTorch, for convolutions) give for calls of the primitives.

Run by hand when operators change: python3 tests/golden/ops.py > tests/golden/ops.txt
A line: operator, attributes (key=value;...), input types (joined by " ; "), output types, and for operators that only
move elements the elements of the output, when the inputs hold 0, 1, 2, ... one after another ("-": not given).
"""
import itertools

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view

DTYPES = {"float32": "f32", "int64": "i64", "bool": "bool", "float64": "f64", "int32": "i32"}
END, START = 2**63 - 1, -(2**63)


def type_text(a):
    return "%s[%s]" % (DTYPES[str(a.dtype)], ", ".join(map(str, a.shape)))


def attr_text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "{%s}" % ", ".join(map(str, value))
    return str(value)


def case(op, fn, *inputs, moves=False, **attrs):
    out = fn(*inputs, **attrs)
    out = list(out) if isinstance(out, (list, tuple)) else [out]
    out = [np.asarray(o) for o in out]
    fields = [
        op,
        ";".join("%s=%s" % (k, attr_text(v)) for k, v in attrs.items()) or "-",
        " ; ".join(type_text(np.asarray(i)) for i in inputs) or "-",
        " ; ".join(type_text(o) for o in out) or "-",
        " ".join(str(int(v)) for v in out[0].ravel()) or "-" if moves else "-",
    ]
    print("\t".join(fields))


def f32(*shape):
    return np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)


def i64(*shape, bound=1):
    return (np.arange(int(np.prod(shape))) % bound).reshape(shape).astype(np.int64)


PAIRS = [((), ()), ((3,), ()), ((), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((3, 1, 2), (4, 1)), ((0,), (1,)),
         ((2, 1), (2, 0)), ((1, 1, 1), (0,)), ((2, 3, 1, 2), (1, 4, 1)), ((5, 1, 4, 1), (2, 1, 3))]


def binary():
    for a, b in PAIRS:
        case("add", np.add, f32(*a), f32(*b))
        case("pow", np.power, f32(*a), np.asarray(f32(*b) + np.float32(1)))
        case("less", np.less, f32(*a), f32(*b))
        case("max", np.maximum, i64(*a), i64(*b))
    case("where", np.where, f32(2, 1) > 0, f32(3), f32(4, 1, 1))
    case("where", np.where, f32(0) > 0, f32(1), f32(2, 1))
    case("isnan", np.isnan, f32(2, 3))
    case("floor", np.floor, f32())


def like():
    wide = lambda x, like: np.broadcast_to(x, like.shape)
    for a, b in [((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 1, 3, 1), (2, 4, 3, 5)), ((1, 3), (0, 3))]:
        case("expand_as", wide, f32(*a), f32(*b), moves=True)
        case("reduce_to", lambda x, like: np.zeros_like(like), f32(*b), f32(*a))
    case("reshape_as", lambda x, like: x.reshape(like.shape), f32(2, 3, 4), f32(4, 6), moves=True)
    case("reshape_as", lambda x, like: x.reshape(like.shape), f32(1, 1), f32(), moves=True)
    case("size", lambda x, dtype: np.asarray(x.size, np.int64), f32(2, 3, 4), dtype="i64")
    case("iota", lambda x, axis: np.arange(x.shape[axis]), f32(2, 3, 4), axis=-1)
    case("zeros_like", np.zeros_like, f32(2, 3))


def reductions():
    for shape, axes in [((2, 3, 4), (0,)), ((2, 3, 4), (-1, 0)), ((2, 3, 4), (0, 1, 2)), ((3, 0), (1,)), ((3, 0), (0,))]:
        for keep in (True, False):
            case("reduce_sum", lambda x, axes, keepdims: np.sum(x, axes, keepdims=keepdims), f32(*shape), axes=axes,
                 keepdims=keep)
            case("reduce_prod", lambda x, axes, keepdims: np.prod(x, axes, keepdims=keepdims), f32(*shape), axes=axes,
                 keepdims=keep)
    case("reduce_max", lambda x, keepdims: np.max(x, keepdims=keepdims), f32(2, 3), keepdims=True)
    case("reduce_max", lambda x, keepdims: np.max(x, keepdims=keepdims), f32(2, 3), keepdims=False)
    for axis, keep in itertools.product((0, 1, -1), (True, False)):
        case("argmax", lambda x, axis, keepdims: np.argmax(x, axis, keepdims=keepdims), f32(2, 3, 4), axis=axis,
             keepdims=keep)
    case("argmin", lambda x, axis, keepdims: np.argmin(x, axis, keepdims=keepdims), f32(0, 3), axis=1, keepdims=False)
    case("cumsum", lambda x, axis: np.cumsum(x, axis), f32(2, 3), axis=-1)


def onnx_reshape(x, shape, allowzero=False):
    shape = [x.shape[i] if s == 0 and not allowzero else s for i, s in enumerate(shape)]
    return x.reshape(shape)


def onnx_flatten(x, axis):
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


def onnx_slice(x, starts, ends, axes=None, steps=None):
    index = [slice(None)] * x.ndim
    for k, start in enumerate(starts):
        step = steps[k] if steps else 1
        axis = axes[k] if axes else k
        n = x.shape[axis]
        end = ends[k]
        # NumPy reads an end below -n with a negative step as "to the beginning", as ONNX does.
        index[axis] = slice(start, None if end <= -n - 1 and step < 0 else end, step)
    return x[tuple(index)]


def onnx_pad(x, pads, axes=None):
    axes = list(range(x.ndim)) if axes is None else [a % x.ndim for a in axes]
    widths = [(0, 0)] * x.ndim
    for k, axis in enumerate(axes):
        before, after = pads[k], pads[len(axes) + k]
        keep = [slice(None)] * x.ndim
        keep[axis] = slice(max(-before, 0), x.shape[axis] - max(-after, 0))
        x = x[tuple(keep)]
        widths[axis] = (max(before, 0), max(after, 0))
    return np.pad(x, widths)


def shapes():
    for shape, to in [((2, 3), (3, 2)), ((2, 3, 4), (0, -1)), ((2, 3, 4), (-1, 2, 0)), ((2, 3, 4), (-1,)), ((), (1, -1)),
                      ((1, 1), ()), ((2, 0, 3), (4, 0))]:
        case("reshape", onnx_reshape, f32(*shape), moves=True, shape=to)
    case("reshape", onnx_reshape, f32(2, 0, 3), moves=True, shape=(6, 0), allowzero=True)
    for axis in (0, 1, 2, 3, -1):
        case("flatten", onnx_flatten, f32(2, 3, 4), moves=True, axis=axis)
    for perm in [(0, 1, 2), (2, 1, 0), (1, 2, 0), (-1, 0, 1)]:
        case("transpose", lambda x, perm: np.transpose(x, perm), f32(2, 3, 4), moves=True, perm=perm)
    case("transpose", np.transpose, f32(2, 3), moves=True)
    case("squeeze", np.squeeze, f32(1, 3, 1, 2), moves=True)
    case("squeeze", lambda x, axes: np.squeeze(x, axes), f32(1, 3, 1, 2), moves=True, axes=(-2,))
    for axes in [(0,), (-1,), (1, 3), (0, -2)]:
        case("unsqueeze", lambda x, axes: np.expand_dims(x, axes), f32(2, 3), moves=True, axes=axes)
    both = lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, [abs(s) for s in shape]))
    for shape, to in [((3,), (2, 3)), ((3, 1), (2, -1, 4)), ((2, 3, 4), (3, 1)), ((2, 1, 3), (1, 2, 1)), ((1, 3), (0, 1))]:
        case("expand", both, f32(*shape), moves=True, shape=to)


def slices():
    for shape, attrs in [
        ((7,), dict(starts=[1], ends=[5])),
        ((7,), dict(starts=[-3], ends=[END])),
        ((7,), dict(starts=[100], ends=[-100], axes=[0], steps=[-3])),
        ((7,), dict(starts=[4], ends=[4])),
        ((7,), dict(starts=[5], ends=[2])),
        ((7,), dict(starts=[-100], ends=[100], axes=[0], steps=[100])),
        ((4, 5), dict(starts=[-1], ends=[START], axes=[1], steps=[-1])),
        ((4, 5), dict(starts=[-1, 3], ends=[-4, 0], axes=[1, 0], steps=[-2, -1])),
        ((6, 5), dict(starts=[1, 3], ends=[6, 0], axes=[0, -1], steps=[2, -2])),
        ((0, 3), dict(starts=[1], ends=[5])),
        ((3, 0), dict(starts=[-1], ends=[START], axes=[1], steps=[-1])),
    ]:
        case("slice", onnx_slice, f32(*shape), moves=True, **attrs)
    for shape, attrs in [((5,), dict(pads=[-1, -2])), ((3, 4), dict(pads=[0, -1, -1, 0])), ((3,), dict(pads=[-3, 0]))]:
        case("pad", onnx_pad, f32(*shape), moves=True, **attrs)
    case("pad", onnx_pad, f32(3, 4), pads=[1, -1, 0, 2])
    case("pad", onnx_pad, f32(2, 1, 3, 4), pads=[1, 2, 1, 0], axes=[2, -1])
    case("pad", onnx_pad, f32(0, 2), pads=[1, 0, 1, 0])
    cat = lambda *x, axis=0: np.concatenate(x, axis)
    case("concat", cat, f32(3), f32(2))
    case("concat", cat, f32(2, 1), f32(2, 3), f32(2, 0), axis=1)
    case("concat", cat, f32(2, 3, 1, 2), f32(2, 3, 4, 2), axis=-2)
    for index, attrs in [((2, 6), dict(axis=1, split=[1, 2, 3])), ((5,), dict(axis=0, split=[2, 0, 3]))]:
        case("split", lambda x, axis, split: np.split(x, np.cumsum(split)[:-1], axis), f32(*index), **attrs)
    case("split", lambda x, axis, num_outputs: np.split(x, [3, 6], axis), f32(2, 7), axis=-1, num_outputs=3)


def windows(x, kernel_shape, strides=None, dilations=None):
    n = len(kernel_shape)
    strides, dilations = strides or [1] * n, dilations or [1] * n
    reach = [d * (k - 1) + 1 for k, d in zip(kernel_shape, dilations)]
    v = sliding_window_view(x, reach, tuple(range(x.ndim - n, x.ndim)))
    index = [slice(None)] * (x.ndim - n) + [slice(None, None, s) for s in strides]
    index += [slice(None, None, d) for d in dilations]
    return v[tuple(index)]


def sliding():
    for shape, attrs in [
        ((5,), dict(kernel_shape=[2])),
        ((3,), dict(kernel_shape=[3], strides=[2])),
        ((2, 7), dict(kernel_shape=[1], strides=[3])),
        ((2, 3, 5, 6), dict(kernel_shape=[2, 3], strides=[2, 1])),
        ((1, 2, 7, 5), dict(kernel_shape=[3, 2], strides=[1, 2], dilations=[2, 3])),
        ((0, 1, 4), dict(kernel_shape=[2])),
    ]:
        case("window", windows, f32(*shape), moves=True, **attrs)


def gather_elements(x, indices, axis):
    out = np.zeros(indices.shape, x.dtype)
    for place in np.ndindex(*indices.shape):
        source = list(place)
        source[axis] = indices[place]
        out[place] = x[tuple(source)]
    return out


def indexing():
    take = lambda x, i, axis: np.take(x, i, axis)
    case("gather", take, f32(5), i64(), axis=0)
    case("gather", take, f32(4, 3), i64(2, 5, bound=4), axis=0)
    case("gather", take, f32(4, 3), i64(2, 2, bound=3), axis=-1)
    case("gather", take, f32(2, 4, 3, 2), i64(3), axis=1)
    case("gather", take, f32(3, 0), i64(2), axis=0)
    case("gather_elements", gather_elements, f32(4, 3), i64(2, 3), axis=0)
    case("gather_elements", gather_elements, f32(4, 3), i64(4, 5), axis=1)
    case("sort", lambda x, axis: (np.sort(x, axis), np.argsort(x, axis)), f32(3, 5), axis=0)


def products():
    for a, b in [((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((3,), (2, 3, 4)), ((2, 4, 3), (3,)),
                 ((5, 2, 3), (5, 3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((2, 1, 2, 3), (5, 3, 2)),
                 ((2, 0), (0, 3)), ((0, 3), (3, 2)), ((0, 2, 3), (3, 2))]:
        case("matmul", np.matmul, f32(*a), f32(*b))


CONV = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
CONV_TRANSPOSE = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}


def torch_conv(x, w, group=1, strides=None, pads=None, dilations=None):
    n = x.ndim - 2
    pads = pads or [0] * 2 * n
    widths = [p for i in reversed(range(n)) for p in (pads[i], pads[n + i])]
    x = F.pad(torch.from_numpy(x), widths)
    return CONV[x.ndim](x, torch.from_numpy(w), None, strides or 1, 0, dilations or 1, group).numpy()


def torch_conv_transpose(x, w, group=1, strides=None, pads=None, dilations=None, output_padding=None):
    n = x.ndim - 2
    out = CONV_TRANSPOSE[x.ndim](torch.from_numpy(x), torch.from_numpy(w), None, strides or 1, 0, output_padding or 0,
                                 group, dilations or 1)
    pads = pads or [0] * 2 * n
    widths = [-p for i in reversed(range(n)) for p in (pads[i], pads[n + i])]
    return F.pad(out, widths).numpy()


def convolutions():
    for x, w, attrs in [
        ((2, 3, 8), (4, 3, 3), {}),
        ((2, 3, 6), (3, 1, 3), dict(group=3, strides=[1], pads=[1, 1])),
        ((2, 2, 5, 4), (3, 2, 3, 3), dict(pads=[1, 1, 1, 1])),
        ((1, 2, 7, 8), (2, 2, 3, 2), dict(strides=[2, 3], pads=[1, 0, 2, 1])),
        ((2, 1, 6, 5), (2, 1, 3, 2), dict(pads=[2, 1, 0, 1], dilations=[2, 1])),
        ((2, 4, 5, 5), (6, 2, 2, 3), dict(group=2, strides=[2, 1], pads=[0, 1, 0, 1])),
        ((1, 2, 3, 5, 6), (2, 2, 2, 2, 2), dict(strides=[1, 2, 1], pads=[1, 0, 1, 0, 1, 0], dilations=[1, 1, 2])),
    ]:
        case("conv", torch_conv, f32(*x), f32(*w), **attrs)
    for x, w, attrs in [
        ((2, 3, 4), (3, 2, 3), {}),
        ((1, 2, 3, 3), (2, 2, 3, 2), dict(strides=[2, 3], pads=[1, 0, 0, 1], dilations=[1, 2], output_padding=[1, 2])),
        ((2, 4, 3, 3), (4, 3, 2, 3), dict(group=2, strides=[2, 1])),
        ((1, 2, 2, 3, 3), (2, 1, 2, 2, 2), dict(strides=[1, 2, 1], pads=[1, 0, 1, 0, 1, 0])),
    ]:
        case("conv_transpose", torch_conv_transpose, f32(*x), f32(*w), **attrs)


for part in (binary, like, reductions, shapes, slices, sliding, indexing, products, convolutions):
    part()
