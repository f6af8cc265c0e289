"""Record the steps of the PyTorch oracle, so that the comparison also runs without torch.

    python tests/equivalence/record_golden.py

Writes two files into this folder. golden.npz holds fifty steps in float64 of each of the post's experiments on a system two
channels wide: the metrics, the weights before (float32, as PyTorch draws them) and, after the last step, every weight,
statistic, vector and moment. golden.json holds the versions, and the digest that the test checks. Experiments that differ only
in β or in length end with bitwise identical weights. This is checked here, and the weights are stored once, under the first
one's name.
"""

import json
import platform
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1])]

from pytorch_reference.replay import EXPERIMENTS, make_oracle, replay_oracle, small_config  # noqa: E402

STEPS = 50
TWIN = {"modified_loss": "baseline", "stabilised_long": "stabilised", "stabilised_modified": "stabilised"}


def golden_digest(arrays: dict[str, np.ndarray]) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes, in the order of names."""
    total = sha256()
    for name in sorted(arrays):
        total.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        total.update(np.ascontiguousarray(arrays[name]).tobytes())
    return total.hexdigest()


def record() -> dict[str, np.ndarray]:
    """Return `<experiment>/initial/<name>`, `<experiment>/final/<name>` and `<experiment>/figures/<metric>` [50]."""
    import torch

    arrays: dict[str, np.ndarray] = {}
    for experiment in EXPERIMENTS:
        config = small_config(experiment)
        torch.manual_seed(0)
        initial = make_oracle(config, None, dtype="float32").networks()
        final, metrics = replay_oracle(config, initial, steps=STEPS)
        arrays |= {f"{experiment}/figures/{name}": values for name, values in metrics.items()}
        parts = {f"initial/{name}": array for name, array in initial.items()} | {
            f"final/{name}": array for name, array in final.items()
        }
        for name, array in parts.items():
            if experiment in TWIN:
                np.testing.assert_array_equal(array, arrays[f"{TWIN[experiment]}/{name}"])
            else:
                arrays[f"{experiment}/{name}"] = array
    return arrays


def write() -> None:
    import torch

    arrays = record()
    np.savez_compressed(HERE / "golden.npz", **arrays)  # type: ignore[arg-type]
    facts = {
        "command": "python tests/equivalence/record_golden.py",
        "steps": STEPS,
        "digest": golden_digest(arrays),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    (HERE / "golden.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(f"{len(arrays)} arrays, {(HERE / 'golden.npz').stat().st_size / 1e3:.0f} kB, digest {facts['digest']}")


if __name__ == "__main__":
    write()
