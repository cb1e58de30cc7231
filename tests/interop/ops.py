# tn-test: timeout=240
"""Every operator against NumPy and PyTorch: what it gives on ref and on cpu, and its gradients.

The program dump_ops writes sampled calls of every operator that the registry knows; the table (ops_table.py, ops_nn.py)
says for each what NumPy or PyTorch would compute. An operator that the table does not name fails.

    ops.py            judges
    ops.py --write    writes tests/golden/values.txt too: what the table says of small calls, for tests without peers
"""
import json
import math
import os
import subprocess
import sys
import tempfile
import warnings

from tn_interop import BUILD, SOURCE, main
from ops_table import IN_TORCH, NUMPY, TABLE, as_array, bits_to_f32, np, torch
from ops_nn import DETACHED

torch.set_num_threads(1)
warnings.simplefilter("ignore")  # of torch.nn.functional, about reductions
GOLDEN = os.path.join(SOURCE, "tests", "golden", "values.txt")
# relative, and absolute in units of the largest element
NEAR = {"f64": (1e-9, 1e-10), "f32": (2e-5, 4e-6), "f16": (4e-3, 2e-3), "bf16": (1.6e-2, 8e-3)}


def array(data, entry):
    """A tensor of the dump as NumPy sees it; bf16 as f32."""
    count = int(np.prod(entry["shape"], dtype=np.int64))
    flat = np.frombuffer(data, NUMPY[entry["dtype"]], count, entry["offset"]).reshape(entry["shape"])
    return bits_to_f32(flat) if entry["dtype"] == "bf16" else flat


# --- Judging ------------------------------------------------------------------------------------------------


def near(got, want, dtype):
    """None, or what is wrong."""
    want = np.asarray(want)
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    if dtype not in NEAR:
        return None if (got == want).all() else f"{got.ravel()[:8]}, expected {want.ravel()[:8]}"
    rtol, atol = NEAR[dtype]
    got, want = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(want)
    scale = max(1.0, np.abs(want[finite]).max(initial=0))
    with np.errstate(invalid="ignore"):
        good = np.abs(got - want) <= rtol * np.abs(want) + atol * scale
    good |= (got == want) | (np.isnan(got) & np.isnan(want))
    if good.all():
        return None
    at = np.argwhere(~good)[0]
    return f"at {tuple(at)} {got[tuple(at)]!r}, expected {want[tuple(at)]!r} ({(~good).sum()} of {good.size} are off)"


class Dump:
    """The calls of dump_ops, and what the table expects of each."""

    def __init__(self, **environment):
        self.folder = tempfile.TemporaryDirectory()
        program = os.path.join(BUILD, "tests", "dump_ops")
        environment = {**os.environ, **environment, "TN_DUMP": self.folder.name}
        done = subprocess.run([program], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        with open(os.path.join(self.folder.name, "calls.bin"), "rb") as file:
            self.data = file.read()
        with open(os.path.join(self.folder.name, "calls.jsonl")) as file:
            self.calls = [json.loads(line) for line in file]

    def tensors(self, call, name):
        return [None if e is None else array(self.data, e) for e in call[name]]

    def inputs(self, call, differentiate):
        made = []
        for i, entry in enumerate(call["inputs"]):
            if entry is None:
                made.append(None)
                continue
            values = array(self.data, entry)
            if entry["dtype"] not in IN_TORCH:
                made.append(values)
                continue
            tensor = torch.from_numpy(values.copy())
            wants = differentiate and call["grads"][i] is not None
            made.append(tensor.requires_grad_() if wants else tensor)
        return made


dump = None


def calls():
    global dump
    dump = dump or Dump()
    return dump.calls


def expected(call, differentiate=False, source=None):
    """(outputs, inputs) by the table; None if the peer does not take a size of 0."""
    call["out"] = [e["dtype"] for e in call["ref"]]
    x = (source or dump).inputs(call, differentiate)
    try:
        y = TABLE[call["op"]](list(x), call["attrs"], call)
    except (RuntimeError, ValueError, IndexError):
        if any(e is not None and 0 in e["shape"] for e in call["inputs"] + call["ref"]):
            return None, x
        raise
    return (list(y) if isinstance(y, (list, tuple)) else [y]), x


def label(call):
    return f"{call['op']}, variant {call['variant']}, {call['dtype']}"


def report(faults, checked, least):
    print(f"  {checked} compared, {len(faults)} differ")
    for fault in faults[:40]:
        print("   ", fault)
    assert not faults
    assert checked >= least, f"only {checked} were compared"


def table_names_every_operator():
    known = {call["op"] for call in calls()}
    assert known <= set(TABLE), f"not in the table: {sorted(known - set(TABLE))}"
    assert set(TABLE) <= known, f"in the table alone: {sorted(set(TABLE) - known)}"


def outputs_agree():
    faults, checked = [], 0
    for call in calls():
        want, _ = expected(call)
        for device in ("ref", "cpu") if want is not None else ():
            for k, got in enumerate(dump.tensors(call, device)):
                fault = near(got, as_array(want[k]), call["out"][k])
                checked += 1
                if fault:
                    faults.append(f"{label(call)}: output {k} on {device}: {fault}")
    report(faults, checked, 8000)


def kernels_of_other_plugins_agree():
    """oneDNN's kernels, taken wherever they can do a call at all."""
    if not os.path.exists(os.path.join(BUILD, "plugins", "libtn_onednn.so")):
        print("  the plugin onednn was not built")
        return
    faults, checked = [], 0
    for op in "conv", "matmul", "linear", "average_pool":
        source = Dump(TN_OP=op, TN_KERNELS="onednn", TENON_ONEDNN="all")
        for call in source.calls:
            want, _ = expected(call, source=source)
            for k, got in enumerate(source.tensors(call, "cpu") if want is not None else ()):
                fault = near(got, as_array(want[k]), call["out"][k])
                checked += 1
                if fault:
                    faults.append(f"{label(call)}: output {k}: {fault}")
    report(faults, checked, 100)


def gradients_agree():
    faults, checked = [], 0
    for call in calls():
        if "grads" not in call or call["op"] in DETACHED:
            continue
        y, x = expected(call, True)
        seeds = dump.tensors(call, "seeds")
        pairs = [(y[k], torch.from_numpy(s.copy())) for k, s in enumerate(seeds) if y is not None and s is not None
                 and isinstance(y[k], torch.Tensor) and y[k].requires_grad]
        at = [i for i, g in enumerate(call["grads"]) if g is not None]
        if not pairs or not at:
            continue
        found = torch.autograd.grad([p[0] for p in pairs], [x[i] for i in at], [p[1] for p in pairs], allow_unused=True)
        got = dump.tensors(call, "grads")
        for i, want in zip(at, found):
            want = np.zeros(got[i].shape) if want is None else want.numpy()
            fault = near(got[i], want, "f64")
            checked += 1
            if fault:
                faults.append(f"{label(call)}: gradient of input {i}: {fault}")
    report(faults, checked, 700)


# --- Golden values ------------------------------------------------------------------------------------------


def golden_line(call, want):
    parts = []
    for value in want:
        value = as_array(value)
        numbers = [repr(float(v)) if value.dtype.kind == "f" else str(int(v)) for v in value.ravel()]
        parts.append(" ".join(numbers))
    return "\t".join([call["op"], call["dtype"], str(call["variant"]), call["digest"], *parts])


def golden():
    """Lines for the first small calls of each operator, in f64 where it can be."""
    lines, seen = [], {}
    for call in sorted(calls(), key=lambda c: (c["op"], c["dtype"] != "f64")):
        dtype, n = seen.setdefault(call["op"], [call["dtype"], 0])
        count = sum(math.prod(e["shape"]) for e in call["ref"])
        if dtype != call["dtype"] or n >= 3 or not 0 < count <= 40:
            continue
        want, _ = expected(call)
        if want is not None:
            seen[call["op"]][1] += 1
            lines.append(golden_line(call, want))
    return lines


def golden_values_are_current():
    with open(GOLDEN) as file:
        kept = [line.rstrip("\n").split("\t")[:4] for line in file if not line.startswith("#")]
    made = [line.split("\t")[:4] for line in golden()]
    assert kept == made, "run tests/interop/ops.py --write: samples have changed"


def write_golden():
    lines = golden()
    with open(GOLDEN, "w") as file:
        file.write("# What NumPy and PyTorch give for sampled calls: operator, dtype, variant, digest of the call,\n"
                   "# outputs. Written by tests/interop/ops.py --write.\n")
        file.write("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        write_golden()
    main([table_names_every_operator, outputs_agree, kernels_of_other_plugins_agree, gradients_agree,
          golden_values_are_current])
