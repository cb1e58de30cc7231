"""What a run leaves, read by those it is meant for: checkpoints by safetensors' package, events by TensorBoard's reader."""
# tn-test: timeout=180
import glob
import json
import os
import tempfile

from tn_interop import main, need, tenon

np = need("numpy")
safetensors_numpy = need("safetensors.numpy")
accumulator = need("tensorboard.backend.event_processing.event_accumulator")

CONFIG = """
local tn = require "tenon"
local nn = tn.nn
return tn.experiment {
  name = "interop", seed = 3,
  stages = {
    read = tn.stage.read { data = tn.dataset.random { {8}, classes = 3, length = 256 }, batch = 16, shuffle = true },
    train = tn.stage.train {
      from = "read", input = "x", target = "y", epochs = 2, log_every = 4,
      model = nn.sequential { nn.linear {16}, nn.relu {}, nn.linear {3} },
      loss = tn.loss.cross_entropy {}, metrics = { accuracy = tn.metric.accuracy {} },
      optimizer = tn.optim.adam { lr = 1e-2 },
    },
  },
  loggers = { tn.logger.tensorboard {} },
}
"""


def run(folder):
    config = os.path.join(folder, "interop.lua")
    with open(config, "w") as file:
        file.write(CONFIG)
    done = tenon("run", "--runs", os.path.join(folder, "runs"), config)
    assert done.returncode == 0, done.stdout + done.stderr
    return glob.glob(os.path.join(folder, "runs", "interop", "*"))[0]


def checkpoint_opens_in_safetensors():
    with tempfile.TemporaryDirectory() as folder:
        path = sorted(glob.glob(os.path.join(run(folder), "checkpoints", "*.safetensors")))[-1]
        tensors = safetensors_numpy.load_file(path)
        weights = {k: v for k, v in tensors.items() if k.startswith("model.")}
        assert sorted(v.shape for v in weights.values()) == [(3,), (3, 16), (16,), (16, 8)], weights.keys()
        assert all(v.dtype == np.float32 and np.isfinite(v).all() for v in weights.values())
        assert int(tensors["train.step"]) == 32
        assert all(f"optim.m/{k}" in tensors for k in weights), tensors.keys()


def events_open_in_tensorboard():
    with tempfile.TemporaryDirectory() as folder:
        path = run(folder)
        events = accumulator.EventAccumulator(path)
        events.Reload()
        tags = events.Tags()["scalars"]
        loss = [t for t in tags if t.endswith("loss")]
        assert loss, tags
        points = events.Scalars(loss[0])
        assert points[-1].step <= 32 and all(np.isfinite(p.value) for p in points)
        with open(os.path.join(path, "metrics.jsonl")) as file:
            lines = [json.loads(line) for line in file]
        by_tag = {(r["name"], r["step"]): r["value"] for r in lines}
        for point in points:  # the same numbers, as f32
            assert np.float32(by_tag[(loss[0], point.step)]) == np.float32(point.value)


def resumed_events_replace_what_was_done_before():
    """TensorBoard shows each step once after a run went on from an older checkpoint, with the values of the second time."""
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "interop.lua")
        with open(config, "w") as file:
            file.write(CONFIG.replace("log_every = 4", "log_steps = 4, checkpoint_steps = 8, keep = 9"))
        done = tenon("run", "--runs", os.path.join(folder, "runs"), config)
        assert done.returncode == 0, done.stdout + done.stderr
        path = glob.glob(os.path.join(folder, "runs", "interop", "*"))[0]
        for checkpoint in sorted(glob.glob(os.path.join(path, "checkpoints", "*.safetensors")))[1:]:
            os.remove(checkpoint)  # as if the process had died after step 8
        done = tenon("resume", "--runs", os.path.join(folder, "runs"), "interop", "train.optimizer.lr=0.5")
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(glob.glob(os.path.join(path, "events.*"))) == 2
        events = accumulator.EventAccumulator(path)
        events.Reload()
        rates = {point.step: point.value for point in events.Scalars("train/lr")}
        assert [point.step for point in events.Scalars("train/loss")] == list(range(4, 33, 4))
        assert all(np.float32(0.01 if step <= 8 else 0.5) == np.float32(rate) for step, rate in rates.items()), rates
        with open(os.path.join(path, "metrics.jsonl")) as file:
            lines = [json.loads(line) for line in file]
        assert [r["step"] for r in lines if r["name"] == "train/loss"] == list(range(4, 33, 4))
        assert {r["step"]: r["value"] for r in lines if r["name"] == "train/lr"} == {
            step: 0.01 if step <= 8 else 0.5 for step in range(4, 33, 4)}


if __name__ == "__main__":
    main([checkpoint_opens_in_safetensors, events_open_in_tensorboard, resumed_events_replace_what_was_done_before])
