"""`main.py export`: a run's networks, its first steps or its sampler, for other programs."""

from argparse import Namespace
from pathlib import Path

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.errors import UserError

DESCRIPTION = """\
Writes what other programs can read:

  python main.py export --workdir runs/default/seed-0 --format pytorch --out networks.safetensors
  python main.py export --workdir runs/default/seed-0 --format trace --steps 10 --out trace.npz
  python main.py export --workdir runs/default/seed-0 --format stablehlo --out sampler.stablehlo

pytorch    both networks as a state dict with the original's names and layouts, .safetensors or (with torch) .pth:
           `Generator().load_state_dict({name: t for name, t in load_file(FILE).items() if name.startswith("gen.")})`
trace      the run's first K steps, run again: weights before and after, every picture and latent, every figure
stablehlo  the sampler for any number of latents, weights inside; `main.py sample --model FILE` runs from it alone
"""

ENDINGS = {"pytorch": (".safetensors", ".pth"), "trace": (".npz",), "stablehlo": (".stablehlo",)}


def run(arguments: list[str]) -> int:
    """Writes; returns the exit code."""
    parser = Parser(prog="main.py export", description=DESCRIPTION)
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--format", choices=tuple(ENDINGS), required=True, help="what to write")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    parser.add_argument("--step", type=int, metavar="N", help="pytorch, stablehlo: the checkpoint; default: the last")
    parser.add_argument("--steps", type=int, metavar="K", help="trace: how many steps; default: 10")
    parser.add_argument("--statistics", choices=("batch", "running"), help="stablehlo: of batch norm; default: batch")
    flags, overrides = parser.parse(arguments)
    if overrides:
        raise UserError(f"--config.{overrides[0][0]}: exporting takes its settings from the run in --workdir")
    _check(flags)
    match flags.format:
        case "pytorch":
            _pytorch(flags)
        case "trace":
            _trace(flags)
        case "stablehlo":
            _stablehlo(flags)
    return 0


def _check(flags: Namespace) -> None:
    endings = ENDINGS[flags.format]
    if flags.out.suffix not in endings:
        raise UserError(f"--out={flags.out}: --format {flags.format} makes {' or '.join(endings)} files")
    belongs = {"step": ("pytorch", "stablehlo"), "steps": ("trace",), "statistics": ("stablehlo",)}
    for name, formats in belongs.items():
        if getattr(flags, name) is not None and flags.format not in formats:
            raise UserError(f"--{name} goes with --format {' or '.join(formats)}, not with {flags.format}")
    if flags.steps is not None and flags.steps < 1:
        raise UserError(f"--steps={flags.steps} must be at least 1")


def _pytorch(flags: Namespace) -> None:
    from sharingan_jax.gan.state import digest
    from sharingan_jax.interop.state_dict import to_tensors
    from sharingan_jax.interop.torch_files import write_pth, write_safetensors
    from sharingan_jax.run.load import load_run

    run = load_run(flags.workdir)
    state = run.state(flags.step)
    tensors = to_tensors(run.config, state)
    if flags.out.suffix == ".pth":
        write_pth(flags.out, tensors)
    else:
        write_safetensors(flags.out, tensors, {"step": str(int(state.step)), "digest": digest(state)})
    print(f"{len(tensors)} tensors of step {int(state.step)} in {flags.out}")


def _trace(flags: Namespace) -> None:
    import numpy as np

    from sharingan_jax.devices.environment import pin_environment
    from sharingan_jax.files import write_atomically
    from sharingan_jax.run.folder import RunFolder, read_config
    from sharingan_jax.run.metrics import read_metrics

    pin_environment(read_config(RunFolder(flags.workdir)), recorded=0)

    from sharingan_jax.interop.trace import compare_with_records, record_trace, run_beginning

    beginning = run_beginning(flags.workdir)
    trace = record_trace(beginning, steps=flags.steps or 10)
    recorded, differing = compare_with_records(trace, read_metrics(beginning.folder))
    write_atomically(flags.out, lambda file: np.savez_compressed(file, **trace))  # type: ignore[arg-type]
    first, last = trace["step"][[0, -1]]
    if differing:
        told = f"from step {differing[0]} on, not those of metrics.jsonl"
    elif recorded:
        told = f"the floats of metrics.jsonl at all {recorded} steps that it has of them"
    else:
        told = "held against nothing: metrics.jsonl has none of these steps"
    print(f"steps {first} to {last} in {flags.out}; their figures are {told}")


def _stablehlo(flags: Namespace) -> None:
    from sharingan_jax.files import write_atomically
    from sharingan_jax.interop.stablehlo import export_sampler
    from sharingan_jax.run.load import load_run

    run = load_run(flags.workdir)
    state = run.state(flags.step)
    content = export_sampler(run.config, state, statistics=flags.statistics or "batch")
    write_atomically(flags.out, lambda file: file.write(content))
    print(f"the sampler of step {int(state.step)} in {flags.out}, {len(content) / 1e6:.1f} MB")
