# tn-test: timeout=120
"""The operators of 8-bit numbers against those of ONNX Runtime, on the calls that dump_ops samples: what is exact
must be the same, what is rounded again may be one unit away, as libraries multiply by quotients in another order."""
import numpy as np

from tn_interop import main
import ops
from ops_table import NUMPY

try:
    import onnx
    import onnxruntime
except ImportError:
    onnx = None

NAMES = {"quantize_linear": ("QuantizeLinear", 0), "dequantize_linear": ("DequantizeLinear", 0),
         "conv_integer": ("ConvInteger", 0), "matmul_integer": ("MatMulInteger", 0),
         "qlinear_conv": ("QLinearConv", 1), "qlinear_matmul": ("QLinearMatMul", 1)}


def model(call, name, values):
    """A model of one node whose inputs are the call's."""
    kinds = {n: onnx.helper.np_dtype_to_tensor_dtype(np.dtype(NUMPY[n])) for n in ("u8", "i8", "i32", "f32")}
    inputs = [None if e is None else onnx.helper.make_tensor_value_info(f"x{i}", kinds[e["dtype"]], v.shape)
              for i, (e, v) in enumerate(zip(call["inputs"], values))]
    out = onnx.helper.make_tensor_value_info("y", kinds[call["ref"][0]["dtype"]], None)
    attrs = {k: v for k, v in call["attrs"].items() if v or k == "axis"}
    node = onnx.helper.make_node(name, ["" if i is None else i.name for i in inputs], ["y"], **attrs)
    graph = onnx.helper.make_graph([node], "g", [i for i in inputs if i is not None], [out])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    made.ir_version = 8
    return made


def expected(call, name, values):
    """None where ONNX Runtime has no kernel for such types."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model(call, name, values).SerializeToString(), options,
                                               providers=["CPUExecutionProvider"])
        return session.run(None, {f"x{i}": v for i, v in enumerate(values) if v is not None})[0]
    except Exception as error:
        print(f"    {ops.label(call)}: ONNX Runtime does not: {str(error).splitlines()[0][:120]}")
        return None


def agrees_with_onnxruntime():
    if onnx is None:
        print("  onnx and onnxruntime are not installed")
        return
    faults, checked = [], 0
    for op, (name, unit) in NAMES.items():
        source = ops.Dump(TN_OP=op)
        for call in source.calls:
            if any(e is not None and 0 in e["shape"] for e in call["inputs"]):
                continue
            values = [None if e is None else np.ascontiguousarray(ops.array(source.data, e)) for e in call["inputs"]]
            want = expected(call, name, values)
            for device in ("ref", "cpu") if want is not None else ():
                got = source.tensors(call, device)[0]
                off = np.abs(got.astype(np.float64) - want.astype(np.float64)).max()
                checked += 1
                if got.shape != want.shape or off > (1e-6 if got.dtype == np.float32 else unit):
                    faults.append(f"{ops.label(call)} on {device}: off by {off}")
    ops.report(faults, checked, 20)


if __name__ == "__main__":
    main([agrees_with_onnxruntime])
