"""Read PyTorch's state dicts and training checkpoints, under any names of their parts, and write state dicts."""

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
    """Contents of files: tensors by the original's names; Adam's states and settings by network (`gen`, `dis`)."""

    tensors: Tensors = field(default_factory=dict)
    adam: dict[str, AdamState] = field(default_factory=dict)
    adam_settings: dict[str, dict[str, float]] = field(default_factory=dict)

    def add_tensors(self, tensors: Tensors, *, where: str) -> None:
        """Add the tensors of a state dict. Raise UserError if one is there already (such as raw and averaged generators)."""
        twice = [name for name in tensors if name in self.tensors]
        if twice:
            raise UserError(
                f"--from={where}: expected each network once, got {twice[0]} in two state dicts."
                " Give files with each network once."
            )
        self.tensors.update(tensors)

    def add_adam(self, net: str, adam: AdamState, settings: dict[str, float], *, where: str) -> None:
        """Add the Adam state of a network. Raise UserError if it has one already."""
        if net in self.adam:
            raise UserError(f"--from={where}: expected one Adam state of {net}, got two. Give files with each state once.")
        self.adam[net], self.adam_settings[net] = adam, settings

    def merge(self, other: "TorchContents", *, where: str) -> None:
        """Add the contents of another file."""
        self.add_tensors(other.tensors, where=where)
        for net, adam in other.adam.items():
            self.add_adam(net, adam, other.adam_settings[net], where=where)


def read_torch_file(
    path: Path, *, shapes: Mapping[str, tuple[int, ...]], parameters: Mapping[str, list[tuple[int, ...]]]
) -> TorchContents:
    """Return the contents of one file; each part goes to the network that it fits best.

    `shapes` are those of the expected tensors, by the original's names; `parameters` are the shapes of the parameters of `gen`
    and `dis`, in order. A part is a state dict or Adam's `state_dict()`, at the top of the file or at any depth. The names in a
    state dict may be the original's, those of the PyTorch DCGAN tutorial (`main.0.weight`) or bare (`0.weight`); a leading
    `module.` is ignored. Raise UserError with the name of a file that cannot be read or has no tensors.
    """
    contents = TorchContents()
    for where, part in _parts(_read(path)):
        if is_adam(part):
            if adam := read_adam(part, parameters, where=f"{path}{where}"):
                contents.add_adam(*adam, where=f"{path}{where}")
        else:
            contents.add_tensors(_named_tensors(part, shapes, where=f"{path}{where}"), where=f"{path}{where}")
    if not contents.tensors and not contents.adam:
        raise UserError(f"--from={path}: expected tensors, got none. Give a state dict or a training checkpoint.")
    return contents


def write_safetensors(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Write a `.safetensors` file with tensors and metadata, atomically."""
    content = safetensors.numpy.save(tensors, metadata={"format": "pt", **metadata})
    write_atomically(path, lambda file: file.write(content))


def write_pth(path: Path, tensors: Tensors) -> None:
    """Write a state dict as `torch.save` does, atomically. Raise UserError if torch is not installed."""
    torch = _import_torch(f"--out={path}")
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in tensors.items()}, buffer)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise UserError(f"--from={path}: no such file. Give a PyTorch file ({', '.join(ENDINGS)}).")
    if path.suffix not in ENDINGS:
        raise UserError(f"--from={path}: expected a name ending in {', '.join(ENDINGS)}, got {path.suffix or 'no ending'}.")
    if path.suffix == ".safetensors":
        try:
            return safetensors.numpy.load_file(path)
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            raise UserError(
                f"--from={path}: expected a .safetensors file, got one that does not parse: {error}. Give an intact file."
            ) from None
    torch = _import_torch(f"--from={path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Pickle, zip and torch raise many kinds of error on other files.
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise UserError(
            f"--from={path}: expected a file that torch.load(weights_only=True) reads, got: {reason}."
            " Give a state dict or a training checkpoint."
        ) from None
    if not isinstance(content, Mapping):
        raise UserError(
            f"--from={path}: expected a dict, got {type(content).__name__}. Give a state dict or a training checkpoint."
        )
    return content


def _import_torch(why: str) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(f"{why}: this format needs torch, which is not installed. Use .safetensors, or install torch.") from None
    return torch


def _parts(content: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (keys that lead to it, part) for the state dicts and Adam states of a file: outer tensors first, then nested ones."""
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping):
        return
    if is_adam(content):
        yield where, content
        return
    # Tensors of a layer have a dot in their names; others (fixed noise, a loss) belong to no network.
    tensors = {name: value for name, value in content.items() if "." in str(name) and hasattr(value, "shape")}
    if tensors:
        yield where, tensors
    for name, value in content.items():
        yield from _parts(value, f"{where}[{name!r}]")


def _named_tensors(part: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], *, where: str) -> Tensors:
    """Return a state dict with the original's names, as the network that it fits best."""
    named = {name.removeprefix("module."): _array(value, where=f"{where}: {name}") for name, value in part.items()}
    if not all(name.startswith(NET_PREFIXES) for name in named):
        bare = {name.removeprefix("main."): array for name, array in named.items()}
        prefix = max(NET_PREFIXES, key=lambda prefix: _matches(prefix, bare, shapes))
        if _matches(prefix, bare, shapes):
            named = {prefix + name: array for name, array in bare.items()}
    return named


def _matches(prefix: str, tensors: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Count the convolution kernels that fit, with or without spectral normalisation: a later error names what differs."""
    kernels = {name.removesuffix("_orig"): shape for name, shape in shapes.items() if len(shape) == 4}
    return sum(kernels.get(prefix + name.removesuffix("_orig")) == array.shape for name, array in tensors.items())


def _array(value: Any, *, where: str) -> np.ndarray:
    """Return a tensor as numpy, bfloat16 (which numpy lacks) as float32. Raise UserError if numpy cannot hold it."""
    try:
        if not isinstance(value, np.ndarray):
            value = value.detach().cpu()
            value = (value.float() if value.is_floating_point() and value.element_size() < 4 else value).numpy()
        array: np.ndarray = value.astype(np.float32) if value.dtype.name == "bfloat16" else value
    except (AttributeError, TypeError, RuntimeError) as error:
        raise UserError(
            f"--from={where}: expected a dense tensor of real numbers, got: {str(error).splitlines()[0][:200]}."
            " Save the weights as plain tensors."
        ) from None
    return array
