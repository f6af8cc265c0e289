"""SharinGAN in JAX: a DCGAN with spectral normalisation and gradient clipping
for a hundred images."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # Type checkers see the names; an import loads each only when it is used, so that none needs JAX.
    from sharingan_jax.config.load import load_config
    from sharingan_jax.config.schema import Config
    from sharingan_jax.data.sources.load import load_dataset
    from sharingan_jax.errors import Stopped, UserError
    from sharingan_jax.interop.export import export
    from sharingan_jax.interop.torch_import import import_weights
    from sharingan_jax.run.diff import diff
    from sharingan_jax.run.load import Run, load_run
    from sharingan_jax.run.sample import sample
    from sharingan_jax.training.seeds import train, train_seeds
    from sharingan_jax.training.verify import verify

_MODULES = {
    "Config": "config.schema",
    "Run": "run.load",
    "Stopped": "errors",
    "UserError": "errors",
    "diff": "run.diff",
    "export": "interop.export",
    "import_weights": "interop.torch_import",
    "load_config": "config.load",
    "load_dataset": "data.sources.load",
    "load_run": "run.load",
    "sample": "run.sample",
    "train": "training.seeds",
    "train_seeds": "training.seeds",
    "verify": "training.verify",
}
"""The module of each public name."""

__all__ = [
    "Config",
    "Run",
    "Stopped",
    "UserError",
    "__version__",
    "diff",
    "export",
    "import_weights",
    "load_config",
    "load_dataset",
    "load_run",
    "sample",
    "train",
    "train_seeds",
    "verify",
]


if not TYPE_CHECKING:  # A type checker that saw this would accept any name.

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
