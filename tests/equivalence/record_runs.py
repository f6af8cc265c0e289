"""Record the numbers of whole runs, so that later versions can be compared with them.

    python tests/equivalence/record_runs.py                       record every case of CASES
    python tests/equivalence/record_runs.py --only quick smoke    record these cases and merge them into the file
    python tests/equivalence/record_runs.py --only smoke --force  replace a case: its numbers have changed on purpose
    python tests/equivalence/record_runs.py --renamed             tensors have new names: replace names and digests only

Writes recorded_runs.json into this folder. For each run it holds every metric of every step, the manifest's digest, and for each
tensor of the last checkpoint its dtype, shape, SHA-256, norm and two projections. `test_recorded_runs.py` repeats the runs and
compares. Every run is a `python main.py` of its own, because the number of threads and devices is fixed when JAX starts.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECORDING = HERE / "recorded_runs.json"

# --- Names of the product: when one changes, change it here and nowhere else. ---


@dataclass(frozen=True)
class Case:
    """A run to record: configs/`config`.py with `settings`, in `processes` processes of `devices` virtual devices each.

    Every ending of `endings` must give the same numbers: "uninterrupted", or interrupted by SIGKILL or SIGTERM and resumed.
    """

    config: str
    settings: tuple[str, ...] = ()
    devices: int = 1
    processes: int = 1
    endings: tuple[str, ...] = ("uninterrupted",)


COMMON = ("train.host_threads=2",)  # The number of threads changes rounding on a CPU; without this it is the number of cores.
# Moves no number and is not recorded. With the tests' PyTorch installed, TensorBoard's writer imports it: 1.5 s of each start.
UNRECORDED = ("log.tensorboard=false",)
NARROW = ("train.steps=60", "model.gen.width=16", "model.disc.width=16")
STACKED = ("train.seeds=3", "train.stacked_seeds=3")
# Checkpoints of every fifth step, so that an interrupted run resumes from one in the middle.
OFTEN = ("train.steps=60", "train.steps_per_dispatch=5", "checkpoint.every=5", "sample.every=5")
# Settings that the configurations leave at their defaults, all changed at once.
OTHER_SETTINGS = (
    "train.n_critic=2", "train.batch_size=40", "model.ghost_batches=4", "model.conv_impl=direct",
    "model.gen.norm_position=pre_activation", "model.disc.norm_position=pre_activation",
    "loss.name=bce_clamped", "loss.beta=0.01", "optim.gen.schedule=cosine", "optim.gen.decay_steps=6", "optim.gen.warmup_steps=2",
)  # fmt: skip
CASES = {
    "smoke": Case("smoke"),
    "quick": Case("quick"),
    "baseline": Case("baseline", NARROW),
    "modified_loss": Case("modified_loss", NARROW),
    "stabilised": Case("stabilised", NARROW),
    "stabilised_long": Case("stabilised_long", NARROW),
    "stabilised_modified": Case("stabilised_modified", NARROW),
    "other_settings": Case("smoke", OTHER_SETTINGS),
    "stacked_seeds": Case("smoke", STACKED),
    "stacked_seeds_on_3_devices": Case("smoke", (*STACKED, "train.devices=3"), devices=3),
    "devices_5": Case("smoke", ("train.devices=5", "train.batch_size=25"), devices=8),
    "devices_8": Case("smoke", ("train.devices=8", "train.batch_size=24", "data.last_batch=drop"), devices=8),
    "processes_2": Case("smoke", ("train.devices=4", "train.batch_size=20"), devices=2, processes=2),
    "interrupted": Case("smoke", OFTEN, endings=("uninterrupted", "SIGKILL", "SIGTERM")),
}


def command_of(case: Case, workdir: Path, *, process: int, coordinator: str) -> list[str]:
    """Return the command line of one process of a case."""
    command = [sys.executable, str(ROOT / "main.py"), "--config", str(config_file(case)), "--workdir", str(workdir)]
    command += [f"--config.{setting}" for setting in (*COMMON, *UNRECORDED, *case.settings)]
    if case.processes > 1:
        command += ["--coordinator", coordinator, "--processes", str(case.processes), "--process", str(process)]
    return command


def config_file(case: Case) -> Path:
    """Return the file of a case's configuration."""
    return ROOT / "configs" / f"{case.config}.py"


def read_last_state(workdir: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a run's last checkpoint, by name."""
    sys.path[:0] = [] if str(ROOT) in sys.path else [str(ROOT)]
    import jax

    from sharingan_jax.gan.state import named_arrays
    from sharingan_jax.run.load import load_run

    return named_arrays(jax.device_get(load_run(workdir).state()))


# --- Conditions: computed here and not by the product, so that no change of the product can loosen the comparison. ---

PACKAGES = ("flax", "jax", "jaxlib", "numpy", "optax")


def conditions() -> dict[str, Any]:
    """Return the versions and the processor, on which the bits depend."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        lines = []
    entries = {name.strip().lower(): value.strip() for name, _, value in reversed(lines)}
    instructions = entries.get("flags") or entries.get("features") or ""
    return {
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "processor": {
            "name": entries.get("model name", "unknown"),
            "instructions": sha256(instructions.encode()).hexdigest()[:12],
        },
    }


def commit() -> str:
    """Return the commit whose code runs, with a plus sign when the product's files differ from it."""
    product = ["sharingan_jax", "configs", "main.py"]
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain", "--", *product], capture_output=True, text=True, check=True).stdout
    return head + ("+" if changed else "")


# --- Running a case. ---

TIMEOUT = 900  # Seconds that one start may take.
INTERRUPT_AFTER = 12  # Steps that are written when the signal is sent.


def run_case(case: Case, folder: Path, *, ending: str = "uninterrupted") -> dict[str, Any]:
    """Train a case in `folder`, interrupt and resume it if `ending` is a signal, and return the numbers of each run folder."""
    workdir = folder / "run"
    environment = _environment(case)
    steps = None
    if ending == "SIGKILL":  # It can leave half an entry in the compile cache, so this run works on a copy.
        shared, environment["JAX_COMPILATION_CACHE_DIR"] = environment["JAX_COMPILATION_CACHE_DIR"], str(folder / "cache")
        shutil.copytree(shared, folder / "cache")
    if ending != "uninterrupted":
        with _started(case, workdir, environment) as (process,):
            steps = _interrupt(process, workdir, signal.Signals[ending])
    with _started(case, workdir, environment) as processes:
        codes = [process.wait(TIMEOUT) for process in processes]
    if any(codes):
        raise RuntimeError(f"exit codes {codes}\n{_outputs(workdir)}")
    found = {run.relative_to(folder).as_posix(): read_run(run) for run in run_folders(workdir)}
    if steps is not None and not INTERRUPT_AFTER <= steps < len(found["run"]["metrics"]["step"]):
        raise RuntimeError(f"{ending} came after step {steps}, not in the middle")
    return found


def _environment(case: Case) -> dict[str, str]:
    """Return the environment of a start: CPU, virtual devices, and no thread count or JAX setting from outside but caches."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NPROC", "XLA_FLAGS") and (not name.startswith("JAX_") or "CACHE" in name)
    }
    return kept | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={case.devices}"}


@contextlib.contextmanager
def _started(case: Case, workdir: Path, environment: dict[str, str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the processes of a case; on leaving, kill those that still run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    workdir.parent.mkdir(parents=True, exist_ok=True)
    processes = []
    try:
        for index in range(case.processes):
            command = command_of(case, workdir, process=index, coordinator=coordinator)
            with workdir.with_name(f"output-{index}.txt").open("ab") as output:
                process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
            processes.append(process)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _outputs(workdir: Path) -> str:
    return "\n".join(path.read_text(errors="replace") for path in sorted(workdir.parent.glob("output-*.txt")))


def _interrupt(process: subprocess.Popen[bytes], workdir: Path, number: signal.Signals) -> int:
    """Send a signal after some steps; return how many steps are written when the process has ended."""
    metrics = workdir / "metrics.jsonl"
    deadline = time.monotonic() + TIMEOUT
    while not metrics.is_file() or metrics.read_bytes().count(b"\n") < INTERRUPT_AFTER:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the run did not reach step {INTERRUPT_AFTER}\n{_outputs(workdir)}")
        time.sleep(0.005)
    process.send_signal(number)
    code = process.wait(TIMEOUT)
    if code != (-number if number == signal.SIGKILL else 128 + number):
        raise RuntimeError(f"exit code {code} after {number.name}\n{_outputs(workdir)}")
    return metrics.read_bytes().count(b"\n")


# --- Reading and comparing runs. ---


def run_folders(workdir: Path) -> list[Path]:
    """Return the run folders: `workdir`, or one folder for each seed in it."""
    return sorted(path.parent for pattern in ("manifest.json", "seed-*/manifest.json") for path in workdir.glob(pattern))


SIGNS = ("diversity", "nearest_ratio", "kid_pixels")


def read_run(workdir: Path) -> dict[str, Any]:
    """Return a run's numbers: digest, metrics (one list per name) and tensors."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    # The signs of collapse came after the recording. They are functions of the tensors.
    records = [{name: value for name, value in line.items() if name not in SIGNS} for line in lines]
    names = [name for name in records[0] if name != "time"]
    if any(set(record) != {*names, "time"} for record in records):
        raise RuntimeError(f"{workdir}: the records of metrics.jsonl do not all have the same names")
    return {
        "digest": json.loads((workdir / "manifest.json").read_text())["digest"],
        "metrics": {name: [record[name] for record in records] for name in names},
        "tensors": {name: describe_tensor(array) for name, array in read_last_state(workdir).items()},
    }


def describe_tensor(array: np.ndarray) -> list[Any]:
    """Return dtype, shape, SHA-256 of the little-endian bytes, norm, and two projections on fixed pseudo-random vectors.

    The last three are float64 rounded to nine digits: they say how far two tensors with different bits are apart.
    """
    array = np.asarray(array)
    little_endian = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    values = array.astype(np.float64).ravel()
    # RandomState: its numbers are the same in every version of numpy.
    projections = [float(np.sum(values * np.random.RandomState(seed).uniform(-1, 1, values.size))) for seed in (0, 1)]
    summary = [float(f"{value:.9g}") for value in (float(np.sqrt(np.sum(values**2))), *projections)]
    shape = "x".join(map(str, array.shape)) or "scalar"
    return [array.dtype.name, shape, sha256(little_endian.tobytes()).hexdigest(), *summary]


METRICS_RTOL = (1e-4, 5e-4, 1e-3, 2e-3, 2e-3)
"""On another processor or version: tolerance of the metrics of each of the first steps. A GAN amplifies rounding.

Between two generations of one processor `baseline` differed by at most 1.0e-6, 8.2e-5, 4.1e-4, 1.1e-3 and 8.2e-4.
"""


def differences(recorded: dict[str, Any], found: dict[str, Any], *, exact: bool) -> list[str]:
    """Return what differs between two results of `run_case`, one line each; nothing if they are the same.

    With `exact`, every bit must be the same. Without, names, dtypes, shapes, the steps, the epochs, which metrics are null and
    all integer tensors must be the same, and the metrics of the first steps to METRICS_RTOL.
    """
    if recorded.keys() != found.keys():
        return [f"run folders: {sorted(recorded)} recorded, {sorted(found)} found"]
    lines = []
    for folder, run in recorded.items():
        lines += [f"{folder}: {line}" for line in _differences_of_run(run, found[folder], exact=exact)]
    return lines


def _differences_of_run(recorded: dict[str, Any], found: dict[str, Any], *, exact: bool) -> Iterator[str]:
    if exact and recorded["digest"] != found["digest"]:
        yield f"digest: {recorded['digest'][:12]} recorded, {found['digest'][:12]} found"
    for part in ("metrics", "tensors"):
        if recorded[part].keys() != found[part].keys():
            missing, new = (sorted(a[part].keys() - b[part].keys()) for a, b in ((recorded, found), (found, recorded)))
            yield f"names of {part}: missing {missing}, new {new}"
    for name in recorded["metrics"].keys() & found["metrics"].keys():
        yield from _differences_of_metric(name, recorded["metrics"][name], found["metrics"][name], exact=exact)
    for name in recorded["tensors"].keys() & found["tensors"].keys():
        was, now = recorded["tensors"][name], found["tensors"][name]
        if was[:2] != now[:2]:
            yield f"{name}: {was[:2]} recorded, {now[:2]} found"
        elif was[2] != now[2] and (exact or not was[0].startswith(("float", "bfloat"))):
            size = was[3] or 1.0
            apart = max(abs(a - b) / size for a, b in zip(was[3:], now[3:], strict=True))
            yield f"{name}: different bits; norm and projections differ by up to {apart:.1e} of the norm"


def _differences_of_metric(name: str, was: Sequence[Any], now: Sequence[Any], *, exact: bool) -> Iterator[str]:
    if len(was) != len(now):
        yield f"{name}: {len(was)} steps recorded, {len(now)} found"
        return
    for index, (a, b) in enumerate(zip(was, now, strict=True)):
        if exact or not (isinstance(a, float) and isinstance(b, float)):
            same = a == b
        else:
            same = index >= len(METRICS_RTOL) or abs(a - b) <= METRICS_RTOL[index] * abs(a)
        if not same:
            yield f"{name} of record {index + 1}: {a!r} recorded, {b!r} found"
            return  # The first difference is enough.


# --- The file. ---


def read_recording() -> dict[str, Any]:
    """Return the recorded cases by name; none if there is no file yet."""
    cases: dict[str, Any] = json.loads(RECORDING.read_text()) if RECORDING.is_file() else {}
    return cases


def write_recording(cases: dict[str, Any]) -> None:
    """Write the file, sorted, with one line for each metric and each tensor."""
    text = json.dumps(cases, indent=1, sort_keys=True, allow_nan=False)
    RECORDING.write_text(re.sub(r"\[[^\[\]]*\]", lambda found: " ".join(found.group().split()), text) + "\n")


def record(name: str) -> dict[str, Any]:
    """Run a case with each of its endings; return its numbers and where they are from.

    Raises RuntimeError if an ending gives other numbers than the first one.
    """
    runs: dict[str, Any] = {}
    for ending in CASES[name].endings:
        with tempfile.TemporaryDirectory() as folder:
            found = run_case(CASES[name], Path(folder), ending=ending)
        changed = differences(runs or found, found, exact=True)
        if changed:
            raise RuntimeError(f"{name}, {ending}: other numbers than uninterrupted: {'; '.join(changed)}")
        runs = found
    return {"conditions": conditions(), "commit": commit(), "settings": [*COMMON, *CASES[name].settings], "runs": runs}


def renamed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return `old` with the tensor names and digests of `new`. Raise RuntimeError unless every number is bitwise identical."""
    if old["conditions"] != new["conditions"]:
        raise RuntimeError("recorded with other versions or on another processor, so the bits cannot be compared here")
    for folder, run in new["runs"].items():
        was = old["runs"].get(folder, {"metrics": {}, "tensors": {}})
        if was["metrics"] != run["metrics"] or sorted(was["tensors"].values()) != sorted(run["tensors"].values()):
            raise RuntimeError(f"{folder}: more than names has changed")
    return {**old, "renamed_at": new["commit"], "runs": new["runs"]}


def main() -> int:
    """Record the cases that the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", help=f"cases to record, of {', '.join(CASES)}")
    parser.add_argument("--force", action="store_true", help="replace cases that are recorded already")
    parser.add_argument("--renamed", action="store_true", help="check that no number changed, then replace names and digests")
    flags = parser.parse_args()
    cases = read_recording()
    names = flags.only or [name for name in CASES if config_file(CASES[name]).is_file() and (name in cases or not flags.renamed)]
    if not flags.force and not flags.renamed and (there := [name for name in names if name in cases]):
        print(f"error: recorded already: {', '.join(there)}. Use --only for other cases, or --force to replace these.")
        return 2
    os.environ["JAX_PLATFORMS"] = "cpu"
    with tempfile.TemporaryDirectory() as cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache  # Empty, so that every program is compiled by today's code.
        for name in names:
            start = time.monotonic()
            new = record(name)
            cases = read_recording()  # Again, because another recorder may have added cases meanwhile.
            cases[name] = renamed(cases[name], new) if flags.renamed else new
            write_recording(cases)  # After each case, so that an interrupted recording keeps the finished ones.
            print(f"{name}: {time.monotonic() - start:.1f} s", flush=True)
    print(f"{RECORDING.name}: {len(cases)} cases, {RECORDING.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
