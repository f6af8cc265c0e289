"""PyTorch's files: state dicts and training checkpoints read, whatever they call their parts; state dicts written."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from sharingan_jax.errors import UserError
from sharingan_jax.files import write_atomically
from sharingan_jax.interop.state_dict import AdamState, Tensors
from sharingan_jax.interop.torch_adam import is_adam, read_adam

ENDINGS = (".safetensors", ".pth", ".pt", ".tar", ".ckpt", ".bin")
NET_PREFIXES = ("gen.", "dis.")


@dataclass
class TorchContents:
    """What files held: tensors under the original's names, Adam states with the settings they ran with, by `gen` and `dis`."""

    tensors: Tensors = field(default_factory=dict)
    adam: dict[str, AdamState] = field(default_factory=dict)
    adam_settings: dict[str, dict[str, float]] = field(default_factory=dict)

    def add_tensors(self, tensors: Tensors, *, where: str) -> None:
        """Takes a state dict's tensors; raises UserError where one is there already (two generators, say, raw and averaged)."""
        twice = [name for name in tensors if name in self.tensors]
        if twice:
            raise UserError(f"--from={where}: {twice[0]} is in another state dict too; give files that hold each network once")
        self.tensors.update(tensors)

    def add_adam(self, net: str, adam: AdamState, settings: dict[str, float], *, where: str) -> None:
        """Takes a network's Adam state; raises UserError where there is one already."""
        if net in self.adam:
            raise UserError(f"--from={where}: a second Adam state of {net}; give files that hold each once")
        self.adam[net], self.adam_settings[net] = adam, settings

    def merge(self, other: "TorchContents", *, where: str) -> None:
        """Takes all that another file held."""
        self.add_tensors(other.tensors, where=where)
        for net, adam in other.adam.items():
            self.add_adam(net, adam, other.adam_settings[net], where=where)


def read_torch_file(
    path: Path, *, shapes: Mapping[str, tuple[int, ...]], parameters: Mapping[str, list[tuple[int, ...]]]
) -> TorchContents:
    """The contents of one file, each part given to the network that it fits best.

    `shapes` are the tensors expected, by the original's names; `parameters` those of the parameters of `gen` and `dis`, in
    order. A part is a state dict (names as in the original, in the PyTorch DCGAN tutorial, `main.0.weight`, or bare,
    `0.weight`; `module.` before them is passed over) or Adam's `state_dict()`, at the top of the file or at any depth in it.
    Raises UserError naming the file where it cannot be read or holds no tensors.
    """
    contents = TorchContents()
    for where, part in _parts(_read(path)):
        if is_adam(part):
            if adam := read_adam(part, parameters, where=f"{path}{where}"):
                contents.add_adam(*adam, where=f"{path}{where}")
        else:
            contents.add_tensors(_named_tensors(part, shapes, where=f"{path}{where}"), where=f"{path}{where}")
    if not contents.tensors and not contents.adam:
        raise UserError(f"--from={path}: holds no tensors; give a state dict or a training checkpoint")
    return contents


def write_safetensors(path: Path, tensors: Tensors, facts: Mapping[str, str]) -> None:
    """Writes a `.safetensors` file, atomically, with `facts` beside the tensors."""
    content = safetensors.numpy.save(tensors, metadata={"format": "pt", **facts})
    write_atomically(path, lambda file: file.write(content))


def write_pth(path: Path, tensors: Tensors) -> None:
    """Writes a state dict as `torch.save` does, atomically. Raises UserError where torch is not installed."""
    torch = _import_torch(f"--out={path}")
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in tensors.items()}, buffer)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise UserError(f"--from={path}: no such file")
    if path.suffix not in ENDINGS:
        raise UserError(f"--from={path}: {path.suffix or 'no ending'} is not a form there is; use one of {', '.join(ENDINGS)}")
    if path.suffix == ".safetensors":
        try:
            return safetensors.numpy.load_file(path)
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            raise UserError(f"--from={path}: not a readable .safetensors file: {error}") from None
    torch = _import_torch(f"--from={path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Pickle, zip and torch itself raise many kinds of error on a file that is none of theirs.
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise UserError(f"--from={path}: torch cannot read it as weights alone: {reason}") from None
    if not isinstance(content, Mapping):
        raise UserError(f"--from={path}: holds a {type(content).__name__}; give a state dict or a dict of them")
    return content


def _import_torch(why: str) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(f"{why}: this form needs torch, which is not installed; use .safetensors, or install torch") from None
    return torch


def _parts(content: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The state dicts and Adam states in a file, with where they lie: its own tensors first, then what lies deeper."""
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping):
        return
    if is_adam(content):
        yield where, content
        return
    # A layer's tensors have a dot in their names; a loose one (fixed noise, a loss) is no part of a network.
    tensors = {name: value for name, value in content.items() if "." in str(name) and hasattr(value, "shape")}
    if tensors:
        yield where, tensors
    for name, value in content.items():
        yield from _parts(value, f"{where}[{name!r}]")


def _named_tensors(part: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], *, where: str) -> Tensors:
    """A state dict under the original's names, as the network that it fits best."""
    named = {name.removeprefix("module."): _array(value, where=f"{where}: {name}") for name, value in part.items()}
    if not all(name.startswith(NET_PREFIXES) for name in named):
        bare = {name.removeprefix("main."): array for name, array in named.items()}
        prefix = max(NET_PREFIXES, key=lambda prefix: _matches(prefix, bare, shapes))
        if _matches(prefix, bare, shapes):
            named = {prefix + name: array for name, array in bare.items()}
    return named


def _matches(prefix: str, tensors: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many convolution kernels fit; with or without spectral normalisation, so that a file's own error can be told."""
    kernels = {name.removesuffix("_orig"): shape for name, shape in shapes.items() if len(shape) == 4}
    return sum(kernels.get(prefix + name.removesuffix("_orig")) == array.shape for name, array in tensors.items())


def _array(value: Any, *, where: str) -> np.ndarray:
    """A tensor as numpy; what numpy has no type for (bfloat16) as float32. Raises UserError where it is of no real numbers."""
    try:
        if not isinstance(value, np.ndarray):
            value = value.detach().cpu()
            value = (value.float() if value.is_floating_point() and value.element_size() < 4 else value).numpy()
        array: np.ndarray = value.astype(np.float32) if value.dtype.name == "bfloat16" else value
    except (AttributeError, TypeError, RuntimeError) as error:
        raise UserError(f"--from={where} cannot be read as numbers: {str(error).splitlines()[0][:200]}") from None
    return array
