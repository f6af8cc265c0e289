"""`main.py import`: PyTorch's weights as the beginning, or the middle, of a run here."""

from pathlib import Path

from sharingan_jax.commands.arguments import Parser
from sharingan_jax.config.load import load_config
from sharingan_jax.errors import UserError

DESCRIPTION = """\
Makes a run's folder from PyTorch files, for `sample`, `export` and, by the training command, to go on from:

  python main.py import --from networks.safetensors --config configs/default.py --workdir runs/imported
  python main.py import --from G.pth D.pth --config configs/baseline.py --workdir runs/tutorial \\
    --config.model.gen.norm_position=pre_activation --config.model.disc.norm_position=pre_activation
  python main.py --config configs/default.py --workdir runs/imported

A file is a state dict with the original's names (gen.0.weight_orig), the PyTorch DCGAN tutorial's (main.0.weight) or bare ones
(0.weight), or a training checkpoint: a dict that holds such state dicts, and Adam's of both networks, under whatever keys.
With Adam's the run goes on at the step after its last; without them it begins at step 1 with these weights. Batch norm's
counters (num_batches_tracked), with which nothing is computed, begin anew.
"""


def run(arguments: list[str]) -> int:
    """Imports; returns the exit code."""
    parser = Parser(prog="main.py import", description=DESCRIPTION)
    parser.add_argument("--from", dest="files", type=Path, required=True, nargs="+", metavar="FILE", help="PyTorch files")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration they belong to")
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="the run's folder, a new one")
    parser.add_argument("--config.KEY", dest="unused", metavar="VALUE", help="change a setting, as when training")
    flags, overrides = parser.parse(arguments)
    config = load_config(flags.config, overrides)

    from sharingan_jax.interop.torch_import import begin_run, import_state
    from sharingan_jax.run.folder import RunFolder

    run_dir = RunFolder(flags.workdir)
    if run_dir.config.exists() or run_dir.checkpoints.exists():
        raise UserError(f"--workdir={flags.workdir} holds a run already; give a new folder")
    if flags.workdir.resolve() == Path.cwd():
        raise UserError(f"--workdir={flags.workdir} is the folder you are in; give a new one")
    if flags.workdir.exists() and (not flags.workdir.is_dir() or any(flags.workdir.iterdir())):
        raise UserError(f"--workdir={flags.workdir} is there and is not an empty folder; give a new one")
    state = import_state(config, flags.files)
    begin_run(run_dir, config, state, flags.files)
    step = int(state.step)
    adam = "with Adam's moments" if step else "without Adam's moments"
    print(f"step {step}, {adam}, in {flags.workdir}; the training command with this --workdir goes on from here")
    return 0
