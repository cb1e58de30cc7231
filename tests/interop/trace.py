"""The trace of a profiled run by the rules of the format ("Trace Event Format", Google 2016) that Perfetto's importer of
JSON and chrome://tracing go by: what an event must have, threads with names, slices that nest, counters."""
# tn-test: timeout=180
import glob
import json
import os
import tempfile

from tn_interop import main, tenon

CONFIG = """
local tn = require "tenon"
local nn = tn.nn
return tn.experiment {
  name = "traced", seed = 3,
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {8}, classes = 3, length = 128 }, batch = 16, shuffle = true, workers = 1 },
    map = tn.stage.map { from = "read", apply = function(b) return { x = b.x * 0.5, y = b.y } end },
    train = tn.stage.train {
      from = "map", input = "x", target = "y", epochs = 2, log_every = 4, optimizer = tn.optim.adam { lr = 1e-2 },
      model = nn.sequential { nn.linear {16}, nn.relu {}, nn.linear {3} }, loss = tn.loss.cross_entropy {},
    },
  },
}
"""


def refuse(word):
    raise AssertionError(f"{word} is no JSON")


def once(pairs):
    keys = [key for key, _ in pairs]
    assert len(set(keys)) == len(keys), f"a key twice: {keys}"
    return dict(pairs)


def trace():
    """The events of a run, as a strict reader has them."""
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "traced.lua")
        with open(config, "w") as file:
            file.write(CONFIG)
        done = tenon("run", "--profile", "--runs", os.path.join(folder, "runs"), config)
        assert done.returncode == 0, done.stdout + done.stderr
        (path,) = glob.glob(os.path.join(folder, "runs", "traced", "*", "trace.json"))
        with open(path, encoding="utf-8") as file:
            whole = json.load(file, parse_constant=refuse, object_pairs_hook=once)
    assert whole["displayTimeUnit"] in ("ms", "ns")
    assert len(whole["traceEvents"]) > 50
    return whole["traceEvents"]


def is_number(x):
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def events_are_whole():
    for event in trace():
        assert event["ph"] in ("X", "C", "M"), event
        assert isinstance(event["name"], str) and event["name"], event
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int), event
        if event["ph"] != "M":
            assert is_number(event["ts"]) and event["ts"] >= 0, event
        if event["ph"] == "X":
            assert is_number(event["dur"]) and event["dur"] >= 0, event
            assert isinstance(event["cat"], str) and event["cat"], event
        if event["ph"] == "C":
            assert event["args"] and all(is_number(v) and v >= 0 for v in event["args"].values()), event


def processes_and_threads_have_names():
    events = trace()
    named = {}
    for event in events:
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name"), event
            key = (event["name"], event["pid"], event["tid"] if event["name"] == "thread_name" else None)
            assert key not in named, event
            named[key] = event["args"]["name"]
    for event in events:
        assert ("process_name", event["pid"], None) in named
        if event["ph"] == "X":
            assert named[("thread_name", event["pid"], event["tid"])]
    assert "main" in named.values() and len(set(named.values())) > 2, named


def slices_nest():
    """On a thread two slices lie one in the other or apart; times are in units of 1 ns."""
    threads = {}
    for event in trace():
        if event["ph"] == "X":
            begin = round(event["ts"] * 1000)
            threads.setdefault(event["tid"], []).append((begin, begin + round(event["dur"] * 1000), event["name"]))
    assert threads
    for slices in threads.values():
        around = []
        for begin, end, name in sorted(slices, key=lambda s: (s[0], -s[1])):
            while around and around[-1][1] <= begin:
                around.pop()
            assert not around or end <= around[-1][1], (name, around[-1])
            around.append((begin, end, name))


def counters_tell_of_memory():
    events = trace()
    counters = {}
    for event in events:
        if event["ph"] == "C":
            assert list(event["args"]) == ["bytes"], event
            counters.setdefault(event["name"], []).append((event["ts"], event["args"]["bytes"]))
    assert any("step" in name for name in counters), counters.keys()
    for values in counters.values():
        assert values == sorted(values, key=lambda value: value[0])
    last = max(event["ts"] + event["dur"] for event in events if event["ph"] == "X")
    assert all(ts <= last for values in counters.values() for ts, _ in values)


if __name__ == "__main__":
    main([events_are_whole, processes_and_threads_have_names, slices_nest, counters_tell_of_memory])
