"""Write a run's networks, its first steps or its sampler for other programs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sharingan_jax.errors import UserError
from sharingan_jax.files import user_path, write_atomically

Names = Literal["original", "parametrizations"]
Format = Literal["pytorch", "trace", "stablehlo"]
ENDINGS: dict[str, tuple[str, ...]] = {"pytorch": (".safetensors", ".pth"), "trace": (".npz",), "stablehlo": (".stablehlo",)}
OPTIONS = {
    "step": ("pytorch", "stablehlo"),
    "steps": ("trace",),
    "statistics": ("stablehlo",),
    "weights": ("pytorch", "stablehlo"),
    "names": ("pytorch",),
}
"""The formats that each option belongs to."""


@dataclass(frozen=True)
class Export:
    """A file that was written, the steps it holds (the first and the last), and one sentence about it."""

    path: Path
    steps: tuple[int, int]
    summary: str


def export(
    workdir: str | Path,
    out: str | Path,
    *,
    format: Format,
    step: int | None = None,
    steps: int | None = None,
    statistics: Literal["batch", "running"] | None = None,
    weights: Literal["raw", "averaged"] | None = None,
    names: Names | None = None,
) -> Export:
    """Write the run in `workdir` to the file `out`. The run does not change.

    - `pytorch`: both networks as a state dict with the original's names and layouts, .safetensors or (with torch) .pth; with
      `names="parametrizations"` spectral norm has the names of `torch.nn.utils.parametrizations`;
    - `trace`: the first `steps` (default 10) run again: weights before and after, every image, latent and metric, .npz;
    - `stablehlo`: the sampler for any number of latents, with the weights inside, with batch norm's `statistics`: by default
      those of the batch, and the running ones if the networks know classes, which are then a second argument, one-hot.

    `step` chooses the checkpoint of `pytorch` and `stablehlo`, by default the last, and `weights` those of G: as trained or
    averaged, by default averaged if the run keeps an average. D is as trained. Raise UserError if an option does not belong to
    the format, or if the run lacks what the format needs.
    """
    out, workdir = user_path(out, name="out"), user_path(workdir, name="workdir")
    given = {"step": step, "steps": steps, "statistics": statistics, "weights": weights, "names": names}
    if format not in ENDINGS:
        raise UserError(f"format={format}: expected one of {', '.join(ENDINGS)}")
    if out.suffix not in ENDINGS[format]:
        raise UserError(f"out={out}: expected a name ending in {' or '.join(ENDINGS[format])} for format={format}")
    for name, formats in OPTIONS.items():
        if given[name] is not None and format not in formats:
            raise UserError(f"{name}: goes with format={' or '.join(formats)}, not with {format}")
    if steps is not None and steps < 1:
        raise UserError(f"steps={steps}: expected at least 1")
    if format == "trace":
        return _trace(workdir, out, steps=steps or 10)

    from sharingan_jax.gan.ema import generator_of
    from sharingan_jax.gan.state import digest
    from sharingan_jax.interop.stablehlo import export_sampler
    from sharingan_jax.interop.state_dict import to_tensors
    from sharingan_jax.interop.torch_files import parametrized_name, write_pth, write_safetensors
    from sharingan_jax.run.load import load_run

    run = load_run(workdir)
    state = run.state(step)
    chosen, kind = int(state.step), run.chosen_weights(state, weights)
    which = f"step {chosen}" + (", averaged weights," if kind == "averaged" else "")
    if format == "stablehlo":
        statistics = statistics or ("running" if run.config.model.classes else "batch")  # All images may be of one class.
        content = export_sampler(run.config, state, statistics=statistics, weights=kind)
        write_atomically(out, lambda file: file.write(content))
        return Export(out, (chosen, chosen), f"the sampler of {which} in {out}, {len(content) / 1e6:.1f} MB")
    tensors = to_tensors(run.config, replace(state, gen=generator_of(state, weights=kind)))
    if names == "parametrizations":
        tensors = {parametrized_name(name): array for name, array in tensors.items()}
    if out.suffix == ".pth":
        write_pth(out, tensors)
    else:
        write_safetensors(out, tensors, {"step": str(chosen), "digest": digest(state), "weights": kind})
    return Export(out, (chosen, chosen), f"{len(tensors)} tensors of {which} in {out}")


def _trace(workdir: Path, out: Path, *, steps: int) -> Export:
    import numpy as np

    from sharingan_jax.devices.environment import pin_environment
    from sharingan_jax.run.folder import RunFolder, read_config
    from sharingan_jax.run.metrics import read_metrics

    folder = RunFolder(workdir)
    pin_environment(read_config(folder), recorded=0)  # Before JAX starts.

    from sharingan_jax.interop.trace import compare_with_records, record_trace

    trace = record_trace(workdir, steps=steps)
    recorded, differing = compare_with_records(trace, read_metrics(folder))
    write_atomically(out, lambda file: np.savez_compressed(file, **trace))  # type: ignore[arg-type]
    first, last = map(int, trace["step"][[0, -1]])
    if differing:
        verdict = f"their metrics differ from metrics.jsonl from step {differing[0]} on"
    elif recorded:
        verdict = f"their metrics equal metrics.jsonl bit for bit at all {recorded} steps that it has"
    else:
        verdict = "metrics.jsonl has none of these steps to compare with"
    return Export(out, (first, last), f"steps {first} to {last} in {out}; {verdict}")
