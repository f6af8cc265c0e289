"""SharinGAN in JAX: a DCGAN with spectral normalisation and gradient clipping
for a hundred images."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:  # Type checkers see the names; an import loads each only when it is used, so that none needs JAX.
    from sharingan_jax.comparison.runs import report as report
    from sharingan_jax.config.load import load_config as load_config
    from sharingan_jax.config.schema import Config as Config
    from sharingan_jax.data.sources.load import load_dataset as load_dataset
    from sharingan_jax.errors import Stopped as Stopped
    from sharingan_jax.errors import UserError as UserError
    from sharingan_jax.evaluation.evaluate import evaluate as evaluate
    from sharingan_jax.evaluation.evaluate import evaluate_images as evaluate_images
    from sharingan_jax.evaluation.judge import Evaluation as Evaluation
    from sharingan_jax.evaluation.project import project as project
    from sharingan_jax.interop.export import export as export
    from sharingan_jax.interop.torch_import import import_weights as import_weights
    from sharingan_jax.run.diff import diff as diff
    from sharingan_jax.run.load import Run as Run
    from sharingan_jax.run.load import load_run as load_run
    from sharingan_jax.run.sample import sample as sample
    from sharingan_jax.training.branch import branch as branch
    from sharingan_jax.training.inspection import inspect_images as inspect_images
    from sharingan_jax.training.seeds import train as train
    from sharingan_jax.training.seeds import train_seeds as train_seeds
    from sharingan_jax.training.study import compare as compare
    from sharingan_jax.training.verify import verify as verify

_MODULES = {
    "Config": "config.schema",
    "Evaluation": "evaluation.judge",
    "Run": "run.load",
    "Stopped": "errors",
    "UserError": "errors",
    "branch": "training.branch",
    "compare": "training.study",
    "diff": "run.diff",
    "evaluate": "evaluation.evaluate",
    "evaluate_images": "evaluation.evaluate",
    "export": "interop.export",
    "import_weights": "interop.torch_import",
    "inspect_images": "training.inspection",
    "load_config": "config.load",
    "load_dataset": "data.sources.load",
    "load_run": "run.load",
    "project": "evaluation.project",
    "report": "comparison.runs",
    "sample": "run.sample",
    "train": "training.seeds",
    "train_seeds": "training.seeds",
    "verify": "training.verify",
}
"""The module of each public name."""

__all__ = [*_MODULES, "__version__"]  # noqa: PLE0604

if not TYPE_CHECKING:  # A type checker that saw this would accept any name.

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
