"""How fast training is on one GPU, ours and PyTorch's: every table of docs/performance.md's GPU part, in five minutes.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --minutes 9 --out gpu.json
    python -m benchmarks.gpu --cpu --width 2 --batches 3 4 5 --seeds 2 --rounds 1 --steps 10      a trial without a GPU

Tables come in the order of their importance, each as soon as it is measured, and the verdict on each aim at the end. When the
minutes run out, the remaining tables are named and skipped. Needs JAX's GPU support and a CUDA build of torch; it needs neither
TensorFlow nor the network. `--out` keeps every measurement as JSON.

Each set of compiler flags and each way to run PyTorch has its own process. Programs are compiled in stages, and nothing is
compiled while a table is timed. Ours runs with train.deterministic, the default, except in rows without it. Every round
times each system in turn; ratios are taken within a round. Weights, images and latents are the same for all, and images lie on
the device. PyTorch runs with cuDNN's own search for the fastest algorithm (`torch.backends.cudnn.benchmark`). "float32"
multiplies in float32 on both sides, "tf32" in TF32; in "bfloat16" ours is model.dtype, theirs is autocast.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Literal, NamedTuple

from benchmarks.spread import spread

ROOT = Path(__file__).parents[1]
STEPS_A_CHUNK = 10
"""Steps in one of our chunks, the default of train.steps_per_dispatch."""
TIMED_SECONDS = 0.15
"""About how long one system is timed in a round."""

Numbers = Literal["float32", "tf32", "bfloat16"]
Run = Callable[[int], None]


class Case(NamedTuple):
    """A system to time. `system` is "ours" or "pytorch"; `how` is our model.conv_impl, or how PyTorch runs.

    `flags` are XLA's, in addition to the process's own. Cases that differ only in `twin` run in separate processes.
    """

    system: str
    how: str
    numbers: Numbers
    batch: int
    seeds: int = 1
    flags: str = ""
    width: int = 64
    twin: int = 0

    @property
    def name(self) -> str:
        """The case's name in the tables."""
        if self.system == "pytorch":
            return f"PyTorch, {WAYS.get(self.how, self.how)}"
        seeds = f", {self.seeds} stacked seeds" if self.seeds > 1 else ""
        flags = "" if self.flags in ("", DETERMINISTIC) else f", {self.flags}"
        return f"ours, {self.how}{seeds}{flags}{', again' if self.twin > 1 else ''}"


WAYS = {
    "graph": "whole step in a CUDA graph",
    "graph+channels_last": "whole step in a CUDA graph, channels_last",
    "compile": "torch.compile",
    "graph+compile": "torch.compile, whole step in a CUDA graph",
}


class Table(NamedTuple):
    """Cases that are timed in turns, under a title; the first one is ours.

    With `same_steps` all run the same number of steps, so that their digests can be compared.
    """

    title: str
    cases: tuple[Case, ...]
    same_steps: bool = False


@dataclass
class Rows:
    """Seconds a step of each case in each round, or the error that kept it from running."""

    seconds: dict[Case, list[float]] = field(default_factory=dict)
    errors: dict[Case, str] = field(default_factory=dict)
    digests: dict[Case, str] = field(default_factory=dict)
    prepared: dict[Case, float] = field(default_factory=dict)
    ratios: dict[tuple[Case, Case], float] = field(default_factory=dict)

    def ratio(self, slow: Case, fast: Case) -> float:
        """Return how many times as fast as `slow` a table's first case `fast` is: the median over rounds, NaN if not measured."""
        return self.ratios.get((slow, fast), math.nan)

    def compare(self, cases: Iterable[Case], first: Case) -> None:
        """Compute how many times as fast as each case `first` is. All were timed in turns."""
        for case in cases:
            if case in self.seconds and first in self.seconds:
                pairs = zip(self.seconds[case], self.seconds[first], strict=True)
                self.ratios[case, first] = statistics.median(slow / fast for slow, fast in pairs)

    def as_json(self) -> list[dict[str, Any]]:
        """Return one object for each case."""
        return [
            {
                **case._asdict(),
                "seconds": self.seconds.get(case),
                "error": self.errors.get(case),
                "digest": self.digests.get(case),
                "prepared": self.prepared.get(case),
            }
            for case in {**self.seconds, **self.errors}
        ]


class Worker:
    """A process that prepares and times cases on orders, which are JSON objects, one a line."""

    def __init__(self, system: str, *, flags: str, cpu: bool) -> None:
        environment = dict(os.environ)
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flags}".strip()
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # Several processes share the GPU.
        environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
        if cpu:
            environment["JAX_PLATFORMS"] = "cpu"
        command = [sys.executable, "-m", "benchmarks.gpu", "--serve", "pytorch" if system == "pytorch" else "ours"]
        self._process = subprocess.Popen(
            command + ["--cpu"] * cpu, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )

    def send(self, order: str, **values: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # If it has died, `answer` says so.
            print(json.dumps({"order": order, **values}), file=self._process.stdin, flush=True)

    def answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        return {"error": f"the process ended with {self._process.wait()}"}

    def end(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Race:
    """The workers, one for each system and set of flags, and what they have measured."""

    def __init__(self, *, cpu: bool, rounds: int, steps: int, deadline: float) -> None:
        self.cpu, self.rounds, self.steps, self.deadline = cpu, rounds, steps, deadline
        self.workers: dict[tuple[Any, ...], Worker] = {}
        self.rows = Rows()

    @staticmethod
    def _key(case: Case) -> tuple[Any, ...]:
        # PyTorch's settings and caches belong to the process, and a CUDA error ends the process for every case in it.
        return case if case.system == "pytorch" else ("ours", case.flags, case.twin)

    def worker(self, case: Case) -> Worker:
        """Return the process that runs the case, and start it at the first use."""
        key = self._key(case)
        if key not in self.workers:
            self.workers[key] = Worker(case.system, flags=case.flags, cpu=self.cpu)
        return self.workers[key]

    def prepare(self, cases: Iterable[Case]) -> None:
        """Compile each case in its process, in all processes at once, and record the seconds or the error."""
        orders: dict[int, tuple[Worker, list[Case]]] = {}
        for case in dict.fromkeys(cases):
            worker = self.worker(case)
            orders.setdefault(id(worker), (worker, []))[1].append(case)
        for worker, own in orders.values():
            worker.send("prepare", cases=[case._asdict() for case in own])
        for worker, own in orders.values():
            answers = worker.answer()
            for case, answer in zip(own, answers.get("answers") or [answers] * len(own), strict=True):
                if "error" in answer:
                    self.rows.errors[case] = answer["error"]
                else:
                    self.rows.prepared[case] = answer["prepared"]

    def time(self, table: Table) -> None:
        """Time a table's prepared cases in turns. Cases of earlier tables are timed again: ratios are within a table."""
        ready = [case for case in table.cases if case not in self.rows.errors]
        steps = {case: self.steps or self._enough_steps(case) for case in ready}
        if table.same_steps:
            steps = dict.fromkeys(steps, min(steps.values(), default=0))
        for case in ready:
            self.rows.seconds[case] = []
        for round_ in range(self.rounds):
            for case in ready if round_ % 2 == 0 else reversed(ready):
                if case not in self.rows.errors and (seconds := self._time(case, steps[case])) is not None:
                    self.rows.seconds[case].append(seconds)
        for case in ready:
            if len(self.rows.seconds[case]) < self.rounds:
                del self.rows.seconds[case]
        self.rows.compare(ready, table.cases[0])
        if table.same_steps:
            for case in ready:
                self.worker(case).send("digest", case=case._asdict())
                self.rows.digests[case] = self.worker(case).answer().get("digest", "")

    def release(self, tables: Iterable[Table]) -> None:
        """Free the memory of the tables' cases. PyTorch's processes, one for each case, end."""
        for case in dict.fromkeys(case for table in tables for case in table.cases):
            key = self._key(case)
            if key not in self.workers:
                continue
            if case.system == "pytorch":
                self.workers.pop(key).end()
            else:
                self.workers[key].send("release")
                self.workers[key].answer()

    def _enough_steps(self, case: Case) -> int:
        one_chunk = self._time(case, STEPS_A_CHUNK)
        return STEPS_A_CHUNK * max(1, round(TIMED_SECONDS / (STEPS_A_CHUNK * one_chunk))) if one_chunk else STEPS_A_CHUNK

    def _time(self, case: Case, steps: int) -> float | None:
        worker = self.worker(case)
        worker.send("time", case=case._asdict(), steps=steps)
        answer = worker.answer()
        if "error" in answer:
            self.rows.errors[case] = answer["error"]
            return None
        return float(answer["seconds"]) / steps

    def end(self) -> None:
        for worker in self.workers.values():
            worker.end()


# Below: what a worker does.


def serve(system: str) -> None:
    """Run a worker's loop: read an order, carry it out, answer."""
    make = _our_side() if system == "ours" else _pytorch_side()
    runs: dict[Case, tuple[Run, Callable[[], str]]] = {}

    def prepare(case: Case) -> dict[str, Any]:
        start = time.perf_counter()
        try:
            runs[case] = make(case)
            runs[case][0](STEPS_A_CHUNK)
        except Exception as error:  # A system that fails has its own row in the table.
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]}
        return {"prepared": time.perf_counter() - start}

    for line in sys.stdin:
        order = json.loads(line)
        match order["order"]:
            case "prepare":
                cases = [Case(**values) for values in order["cases"]]
                if system == "pytorch":
                    # One after another, because nothing else may run while a CUDA graph is captured.
                    answer: dict[str, Any] = {"answers": [prepare(case) for case in cases]}
                else:
                    with ThreadPoolExecutor(8) as pool:
                        answer = {"answers": list(pool.map(prepare, cases))}
            case "time":
                run = runs[Case(**order["case"])][0]
                start = time.perf_counter()
                try:
                    run(order["steps"])
                    answer = {"seconds": time.perf_counter() - start}
                except Exception as error:
                    answer = {"error": f"{type(error).__name__}: {error}"[:300]}
            case "digest":
                answer = {"digest": runs[Case(**order["case"])][1]()}
            case "release":
                answer = {}
                runs.clear()
            case name:
                answer = {"error": f"no order {name!r}"}
        print(json.dumps(answer), flush=True)


def _settings(case: Case) -> Any:
    """Return the default configuration with a case's settings."""
    from dataclasses import replace

    from sharingan_jax.config.load import load_config

    config = load_config(ROOT / "configs" / "default.py", [("train.batch_size", str(case.batch))])
    model = replace(
        config.model,
        gen=replace(config.model.gen, width=case.width),
        disc=replace(config.model.disc, width=case.width),
        dtype="bfloat16" if case.numbers == "bfloat16" else "float32",
        conv_impl=case.how if case.system == "ours" else "direct",
    )
    precision = "high" if case.numbers == "tf32" else "highest"
    return replace(config, model=model, train=replace(config.train, precision=precision))


def _real(batch: int) -> Any:
    """Return a batch of emblems, uint8 [B, 64, 64, 3]."""
    import numpy as np

    from sharingan_jax.data.emblems.draw import draw_emblems

    emblems = draw_emblems(100)[0]
    return emblems[np.resize(np.arange(len(emblems)), batch)]


def _our_side() -> Callable[[Case], tuple[Run, Callable[[], str]]]:
    from sharingan_jax.devices.compile_cache import keep_compiled
    from sharingan_jax.devices.environment import pin_jax

    pin_jax()
    keep_compiled()
    import jax
    import jax.numpy as jnp

    from sharingan_jax.devices.mesh import make_mesh
    from sharingan_jax.devices.stacked_seeds import jit_stacked_steps, seeds_mesh
    from sharingan_jax.devices.trainer import jit_steps
    from sharingan_jax.gan.gan import Gan, build_gan, init_state
    from sharingan_jax.gan.state import TrainState, digest

    real = _real(512)
    initial: dict[int, list[TrainState]] = {}
    lock = Lock()

    def initial_states(gan: Gan, case: Case) -> list[TrainState]:
        """Return the seeds' initial states, which do not depend on conv_impl, dtype or batch."""
        with lock:
            states = initial.setdefault(case.width, [])
            if len(states) < case.seeds:
                init = jax.jit(lambda seed: init_state(gan, seed=seed))
                states += [jax.device_get(init(seed)) for seed in range(len(states), max(case.seeds, 8))]
            return states[: case.seeds]

    def make(case: Case) -> tuple[Run, Callable[[], str]]:
        config = _settings(case)
        states = initial_states(build_gan(config), case)
        real_u8 = jnp.broadcast_to(real[: case.batch], (STEPS_A_CHUNK, case.batch, *real.shape[1:]))
        if case.seeds == 1:
            chunk = jit_steps(config, make_mesh(1, batch_sizes={case.batch}))
            state = jax.device_put(states[0])
        else:
            chunk = jit_stacked_steps(config, seeds_mesh(1, seeds=case.seeds))
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
            state = TrainState(jnp.asarray(states[0].step), stacked.key, stacked.gen, stacked.disc, stacked.ema, stacked.memory)
            real_u8 = jnp.broadcast_to(real_u8, (case.seeds, *real_u8.shape))
        compiled = chunk.lower(state, real_u8).compile()

        def run(steps: int) -> None:
            nonlocal state
            for _ in range(max(1, steps // STEPS_A_CHUNK)):
                state, metrics = compiled(state, real_u8)
            jax.block_until_ready((state, metrics))

        return run, lambda: digest(jax.device_get(state))

    return make


def _pytorch_side() -> Callable[[Case], tuple[Run, Callable[[], str]]]:
    import importlib
    import importlib.util

    os.environ["JAX_PLATFORMS"] = "cpu"  # JAX makes only the initial weights here.
    if importlib.util.find_spec("triton"):
        importlib.import_module("triton")  # Inductor needs it. The oracle hides it if it is not yet imported.
    import jax
    import numpy as np
    import torch

    from pytorch_reference import cuda_graph, oracle
    from sharingan_jax.gan.gan import build_gan, init_state
    from sharingan_jax.interop.state_dict import to_tensors
    from sharingan_jax.model.rng import draw_latents

    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    torch.backends.cudnn.benchmark = True
    known: dict[int, Any] = {}

    def initial_of(config: Any) -> tuple[Any, dict[str, np.ndarray]]:
        width = config.model.gen.width
        if width not in known:
            state = jax.device_get(jax.jit(lambda: init_state(build_gan(config), seed=0))())
            known[width] = state, to_tensors(config, state)
        found: tuple[Any, dict[str, np.ndarray]] = known[width]
        return found

    def autocast(forward: Callable[..., Any]) -> Callable[..., Any]:
        inside = torch.autocast(device, torch.bfloat16)(forward)
        return lambda x: inside(x).float()

    def make(case: Case) -> tuple[Run, Callable[[], str]]:
        torch.set_float32_matmul_precision("high" if case.numbers == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = case.numbers == "tf32"
        config = _settings(case)
        state, tensors = initial_of(config)
        sizes = {"nz": config.model.nz, "gen_width": case.width, "disc_width": case.width}
        ways = case.how.split("+")
        if {"graph", "compile"} & set(ways):
            gen, disc, start = cuda_graph.make_training(tensors, **sizes, clip_norm=config.optim.disc.clip_norm)
        else:
            gen = oracle.Generator(nz=sizes["nz"], width=case.width, spectral=True)
            disc = oracle.Discriminator(width=case.width, spectral=True)
            oracle.load(gen, tensors)
            oracle.load(disc, tensors)
            start = lambda: oracle.Training(gen, disc, beta=0.0, clip_norm=config.optim.disc.clip_norm)  # noqa: E731
        layout = torch.channels_last if "channels_last" in ways else torch.contiguous_format
        for net in (gen, disc):
            net.to(device=device, memory_format=layout)
            if case.numbers == "bfloat16":
                net.forward = autocast(net.forward)
            if "compile" in ways:
                net.compile()
        training = start()
        real = torch.tensor(_real(case.batch).transpose(0, 3, 1, 2).copy()).to(device, memory_format=layout)
        z = torch.tensor(np.asarray(draw_latents(state.key, step=1, count=case.batch, nz=sizes["nz"]))).to(device)

        def update() -> None:
            training.update(real.float() / 127.5 - 1.0, z)

        once: Callable[[], None] = cuda_graph.Captured(update) if "graph" in ways and on_gpu else update

        def run(steps: int) -> None:
            # These settings are global in PyTorch, and eager calls read them.
            torch.set_float32_matmul_precision("high" if case.numbers == "tf32" else "highest")
            torch.backends.cudnn.allow_tf32 = case.numbers == "tf32"
            for _ in range(steps):
                once()
            if on_gpu:
                torch.cuda.synchronize()

        return run, lambda: ""

    return make


# What is measured, and the verdicts.

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
"""The flag that train.deterministic sets. It is on by default, so it is on in our rows unless a row names other flags."""
NO_SEARCH = "--xla_gpu_enable_triton_gemm=false"
"""Without train.deterministic XLA also tries Triton's products. That compiles for minutes and gained nothing."""
EAGER = ("eager", "channels_last")
GRAPHS = ("graph", "graph+channels_last")


class Plan(NamedTuple):
    """The sizes of a measurement, and the flags of our default process."""

    width: int = 64
    batches: tuple[int, int, int] = (25, 512, 128)
    seeds: int = 8
    deterministic: str = DETERMINISTIC
    without: str = NO_SEARCH

    def ours(self, numbers: Numbers, batch: int, *, how: str = "patches", **more: Any) -> Case:
        return Case("ours", how, numbers, batch, width=self.width, **({"flags": self.deterministic} | more))

    def pytorch(self, numbers: Numbers, batch: int, ways: Iterable[str]) -> tuple[Case, ...]:
        return tuple(Case("pytorch", how, numbers, batch, width=self.width) for how in ways)

    def stages(self) -> list[list[Table]]:
        """Return the tables, most important first. A stage's programs are compiled together, then its tables are timed."""
        small, large, middle = self.batches
        numbers: tuple[Numbers, ...] = ("float32", "bfloat16", "tf32")
        ways = {"float32": (*EAGER, *GRAPHS), "bfloat16": ("eager", *GRAPHS), "tf32": ("eager", *GRAPHS)}
        races = [
            Table(f"One step, {kind}, batch {small}", (self.ours(kind, small), *self.pytorch(kind, small, ways[kind])))
            for kind in numbers
        ]
        stacked = [
            Table(f"{self.seeds} stacked seeds, {kind}", (self.ours(kind, small, seeds=self.seeds), self.ours(kind, small)))
            for kind in numbers
        ]
        full = [
            Table(f"One step, {kind}, batch {large}", (self.ours(kind, large), *self.pytorch(kind, large, GRAPHS)))
            for kind in numbers
        ]
        halfway = [
            Table(f"One step, {kind}, batch {middle}", (self.ours(kind, middle), *self.pytorch(kind, middle, GRAPHS)))
            for kind in numbers
        ]
        promise = Table(
            "With train.deterministic, twice, and without it",
            (
                self.ours("float32", small, twin=1),
                self.ours("float32", small, twin=2),
                self.ours("float32", small, flags=self.without),
            ),
            same_steps=True,
        )
        implementations = [
            Table(f"Implementations, {kind}, batch {small}", (self.ours(kind, small), self.ours(kind, small, how="direct")))
            for kind in numbers
        ]
        compiled = Table(
            f"PyTorch through its compiler, batch {small}",
            (self.ours("float32", small), *self.pytorch("float32", small, ("compile", "graph+compile"))),
        )
        compiled_bfloat16 = Table(
            f"PyTorch through its compiler, bfloat16, batch {small}",
            (self.ours("bfloat16", small), *self.pytorch("bfloat16", small, ("graph+compile",))),
        )
        return [races, [*stacked, *full, promise], implementations, [compiled, compiled_bfloat16], halfway]

    def verdicts(self, rows: Rows) -> list[str]:
        """Return one line for each aim: whether it holds, with the measured number."""
        small, large, _ = self.batches
        lines = []
        numbers: tuple[Numbers, ...] = ("float32", "tf32", "bfloat16")

        def judge(aim: str, ratio: float, least: float) -> None:
            if math.isnan(ratio):
                lines.append(f"- not measured: {aim}")
            else:
                lines.append(f"- {'holds' if ratio >= least else 'MISSED'}: {aim}: {ratio:.2f} (at least {least:g})")

        def best(kind: Numbers, batch: int) -> float:
            """Return how many times as fast as the fastest PyTorch of the same numbers and batch ours is."""
            rivals = [case for case in rows.seconds if case.system == "pytorch" and (case.numbers, case.batch) == (kind, batch)]
            return min((rows.ratio(case, self.ours(kind, batch)) for case in rivals), default=math.nan)

        eager = self.pytorch("float32", small, ("eager",))[0]
        judge(f"float32, batch {small}: times as fast as eager PyTorch", rows.ratio(eager, self.ours("float32", small)), 2.5)
        for batch in (small, large):
            for kind in numbers:
                judge(f"{kind}, batch {batch}: times as fast as PyTorch's best", best(kind, batch), 1.3)
        for kind in (numbers[0], numbers[2]):
            gain = self.seeds * rows.ratio(self.ours(kind, small), self.ours(kind, small, seeds=self.seeds))
            judge(f"{kind}: throughput of {self.seeds} stacked seeds, relative to one after another", gain, 4)
        with_it, twin = (self.ours("float32", small, twin=number) for number in (1, 2))
        share = rows.ratio(self.ours("float32", small, flags=self.without), with_it)
        judge("train.deterministic: speed as a share of the speed without it", share, 0.87)
        if with_it in rows.digests and twin in rows.digests:
            same = rows.digests[with_it] == rows.digests[twin]
            lines.append(f"- {'holds' if same else 'MISSED'}: train.deterministic: two processes end with the same bits")
        else:
            lines.append("- not measured: train.deterministic: two processes end with the same bits")
        lines.append("- not measured here: a default run of 800 steps with its files; how long the device idles")
        return lines


def table_text(table: Table, rows: Rows) -> str:
    """Return a Markdown table: milliseconds a step (median, smallest, largest) and how many times as fast the first case is."""
    lines = [f"\n{table.title}\n", "| system | ms a step | first row's speed as a multiple of this one's |", "|---|---|---|"]
    for case in table.cases:
        if case not in rows.seconds or case in rows.errors:
            lines.append(f"| {case.name} | failed: {rows.errors.get(case, 'not timed').splitlines()[0]} | |")
            continue
        ms = [1000 * seconds for seconds in rows.seconds[case]]
        lines.append(f"| {case.name} | {spread(ms, 2)} | {rows.ratio(case, table.cases[0]):.2f} |")
    return "\n".join(lines)


def measure(race: Race, plan: Plan, *, out: Path | None) -> None:
    """Run the stages until the deadline. Print each table, write all rows to `out`, and print the verdicts at the end."""
    needed = 0.0
    for stage in plan.stages():
        start = time.perf_counter()
        if start + needed / 2 > race.deadline:
            print(f"\nskipped, the minutes are up: {'; '.join(table.title for table in stage)}", flush=True)
            continue
        race.prepare(case for table in stage for case in table.cases)
        for table in stage:
            race.time(table)
            print(table_text(table, race.rows), flush=True)
            if out is not None:
                out.write_text(json.dumps({"rows": race.rows.as_json()}))
        race.release(stage)
        needed = time.perf_counter() - start
        print(f"\n({needed:.0f} s)", flush=True)
    print("\nThe aims:\n\n" + "\n".join(plan.verdicts(race.rows)), flush=True)


def describe_device() -> str:
    """Return the GPU's name, from the driver, and the versions of both systems."""
    from importlib import metadata

    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        device = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        device = "no GPU"
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "torch"))
    return f"{device}; {versions}; Python {sys.version.split()[0]}"


def main() -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="skip tables that would end after these minutes; default: 5")
    parser.add_argument("--rounds", type=int, default=7, help="how often each system is timed, in turns; default: 7")
    parser.add_argument("--steps", type=int, default=0, help="steps each time; 0: the most that fit into 0.15 s")
    parser.add_argument("--out", type=Path, help="a JSON file for every measurement")
    parser.add_argument("--cpu", action="store_true", help="run on the CPU: a trial of the command, not a measurement")
    parser.add_argument("--width", type=int, default=64, help="width of both networks; default: 64")
    parser.add_argument("--batches", type=int, nargs=3, default=[25, 512, 128], metavar="B", help="default: 25 512 128")
    parser.add_argument("--seeds", type=int, default=8, help="stacked seeds; default: 8")
    parser.add_argument("--serve", choices=("ours", "pytorch"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.serve:
        serve(flags.serve)
        return 0
    plan = Plan(flags.width, tuple(flags.batches), flags.seeds)
    if flags.cpu:  # On a CPU, XLA ends the process at an unknown flag.
        plan = plan._replace(deterministic="", without="")
    print(describe_device(), flush=True)
    deadline = time.perf_counter() + 60 * flags.minutes
    race = Race(cpu=flags.cpu, rounds=flags.rounds, steps=flags.steps, deadline=deadline)
    try:
        measure(race, plan, out=flags.out)
    finally:
        race.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
