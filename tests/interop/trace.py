"""A trace of `run --profile`, read by Perfetto's own trace processor."""
# tn-test: timeout=180
import glob
import os
import tempfile

from tn_interop import main, need, skip, tenon

processor = need("perfetto.trace_processor")

CONFIG = """
local tn = require "tenon"
local nn = tn.nn
return tn.experiment {
  name = "traced", seed = 3,
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {8}, classes = 3, length = 256 }, batch = 16, shuffle = true },
    train = tn.stage.train {
      from = "read", input = "x", target = "y", epochs = 1, log_every = 4,
      model = nn.sequential { nn.linear {16}, nn.relu {}, nn.linear {3} },
      loss = tn.loss.cross_entropy {}, optimizer = tn.optim.adam { lr = 1e-2 },
    },
  },
}
"""


def open_trace(path):
    """The package fetches its program when it is first used."""
    try:
        return processor.TraceProcessor(trace=path)
    except Exception as error:  # of many kinds: no network, no such program, another processor
        skip(f"the trace processor does not start: {error}")


def opens_in_perfetto():
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "traced.lua")
        with open(config, "w") as file:
            file.write(CONFIG)
        done = tenon("run", "--profile", "--runs", os.path.join(folder, "runs"), config)
        assert done.returncode == 0, done.stdout + done.stderr
        trace = open_trace(glob.glob(os.path.join(folder, "runs", "traced", "*", "trace.json"))[0])
        try:
            def one(query):
                return next(iter(trace.query(query)))
            assert one("select count(*) as n from slice where name = 'step step'").n == 16
            assert one("select count(*) as n from slice where name = 'model.1.linear'").n == 16
            assert one("select count(*) as n from counter").n > 16
            assert one("select count(*) as n from thread where name = 'main'").n == 1
            bad = one("select ifnull(sum(value), 0) as n from stats where severity in ('error', 'data_loss')").n
            assert bad == 0, bad
            # Every instruction lies within a run of its program.
            assert one("select count(*) as n from slice where category = 'instruction' and depth < 2").n == 0
        finally:
            trace.close()


if __name__ == "__main__":
    main([opens_in_perfetto])
