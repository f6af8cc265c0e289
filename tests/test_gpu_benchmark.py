"""The parts of the GPU benchmark that a CPU can run: its PyTorch step, its protocol, its tables and verdicts."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.gpu import Case, Plan, Race, Rows, Table
from pytorch_reference.replay import batch, make_oracle, small_config

torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
from pytorch_reference import (
    cuda_graph,
    oracle,
)

TINY = Plan(width=2, batches=(3, 4, 5), seeds=2, deterministic="", without="")


def test_the_step_for_cuda_graphs_is_bitwise_identical_to_the_oracles() -> None:
    config = small_config("stabilised")
    torch.manual_seed(1)
    theirs = make_oracle(config, None)
    sizes = {"nz": config.model.nz, "gen_width": config.model.gen.width, "disc_width": config.model.disc.width}
    gen, disc, start = cuda_graph.make_training(theirs.networks(), **sizes, clip_norm=config.optim.disc.clip_norm)
    for net in (gen, disc):
        net.to(torch.float64)
    training = start()
    for step in (1, 2, 3):
        real, z = batch(step)
        inputs = oracle.as_torch(real), torch.tensor(z)
        assert training.step(*inputs) == theirs.step(*inputs)
    expected = theirs.networks()
    for net in (gen, disc):
        for name, tensor in net.state_dict().items():
            layer, _, rest = name.partition(".parametrizations.weight.")
            original = {"original": "weight_orig", "0.u": "weight_u", "0.v": "weight_v"}
            known = f"{layer}.{original[rest]}" if rest else name
            np.testing.assert_array_equal(tensor.numpy(), expected[known], err_msg=name)


class Answers:
    """A fake worker: it answers at once that a system takes `ms` milliseconds a step."""

    ms = {"ours": 2.0, "pytorch": 5.0}  # noqa: RUF012

    def __init__(self, system: str, *, flags: str, cpu: bool) -> None:
        self.system, self.last = system, ""

    def send(self, order: str, **values: object) -> None:
        self.last, self.values = order, values

    def answer(self) -> dict[str, object]:
        match self.last:
            case "prepare":
                cases = self.values["cases"]
                return {"answers": [{"error": "no"} if c["how"] == "compile" else {"prepared": 1.0} for c in cases]}  # type: ignore[attr-defined]
            case "time":
                case = self.values["case"]
                return {"seconds": self.values["steps"] * self.ms[self.system] / 1000 * (2 if case["seeds"] > 1 else 1)}  # type: ignore
            case "digest":
                return {"digest": "abc"}
        return {}

    def end(self) -> None:
        pass


def test_every_table_is_printed_and_every_aim_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "Worker", Answers)
    race = Race(cpu=True, rounds=3, steps=0, deadline=1e12)
    gpu.measure(race, TINY, out=tmp_path / "rows.json")
    printed = capsys.readouterr().out
    assert all(table.title in printed for stage in TINY.stages() for table in stage)
    assert "| PyTorch, torch.compile | failed: no | |" in printed
    assert "- holds: float32, batch 3: times as fast as eager PyTorch: 2.50 (at least 2.5)" in printed
    assert "- MISSED: bfloat16: throughput of 2 stacked seeds, relative to one after another: 1.00 (at least 4)" in printed
    assert "- holds: train.deterministic: two processes end with the same bits" in printed
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {row["error"] for row in rows if row["how"] == "compile"} == {"no"}
    assert all(len(row["seconds"]) == 3 for row in rows if row["how"] == "patches")


def test_tables_past_the_deadline_are_skipped_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "Worker", Answers)
    gpu.measure(Race(cpu=True, rounds=1, steps=10, deadline=0.0), TINY, out=None)
    printed = capsys.readouterr().out
    assert "skipped, the minutes are up: One step, float32, batch 3; " in printed
    assert "- not measured: float32, batch 3: times as fast as eager PyTorch" in printed


@pytest.mark.slow
def test_a_worker_trains_ours_and_a_failed_case_has_its_own_row() -> None:
    race = Race(cpu=True, rounds=1, steps=10, deadline=1e12)
    good, bad = Case("ours", "patches", "float32", 3, width=2), Case("ours", "fft", "float32", 3, width=2)
    race.prepare([good, bad])
    race.time(Table("tiny", (good, bad), same_steps=True))
    race.end()
    assert race.rows.seconds[good][0] > 0
    assert len(race.rows.digests[good]) == 64
    assert "no implementation 'fft' of convolutions" in race.rows.errors[bad]


def test_ratios_are_medians_over_rounds() -> None:
    fast, slow = Case("ours", "patches", "float32", 3), Case("pytorch", "eager", "float32", 3)
    rows = Rows(seconds={fast: [1.0, 1.0, 2.0], slow: [2.0, 3.0, 8.0]})
    rows.compare([fast, slow], fast)
    assert rows.ratio(slow, fast) == 3.0
    assert np.isnan(rows.ratio(fast, slow))
