"""Read PyTorch's state dicts and training checkpoints, under any names of their parts, and write state dicts."""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from sharingan_jax.errors import UserError, reason_of, shortened
from sharingan_jax.files import write_atomically
from sharingan_jax.interop.state_dict import AdamState, Tensors
from sharingan_jax.interop.torch_adam import is_adam, read_adam

ENDINGS = (".safetensors", ".pth", ".pt", ".tar", ".ckpt", ".bin")
DTYPES: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
"""numpy's type for each type of a .safetensors file."""
NOT_OF_NUMPY = ("BF16", "F8_E4M3", "F8_E5M2")
WRAPPERS = ("module", "_orig_mod")
"""What DataParallel and torch.compile put into the names of a network's parts."""
PARAMETRIZED = {"original": "weight_orig", "0._u": "weight_u", "0._v": "weight_v"}
"""The names of `torch.nn.utils.parametrizations.spectral_norm` behind `parametrizations.weight.`, and the original's."""
NET_PREFIXES = ("gen.", "dis.")


def read_torch_files(
    paths: Sequence[Path], *, shapes: Mapping[str, tuple[int, ...]], parameters: Mapping[str, list[tuple[int, ...]]]
) -> tuple[Tensors, dict[str, AdamState]]:
    """Return the tensors in all files together, by the original's names, and Adam's states by network (`gen`, `dis`).

    `shapes` are those of the expected tensors, by the original's names; `parameters` are the shapes of the parameters of `gen`
    and `dis`, in order. Each part of a file goes to the network that it fits best. A part is a state dict or Adam's
    `state_dict()`, at the top of the file or at any depth. The names in a state dict may be the original's, those of the
    PyTorch DCGAN tutorial (`main.0.weight`) or bare (`0.weight`), with either spectral norm of PyTorch; `module.` and
    `_orig_mod.` are ignored. Raise UserError with the name of a file that cannot be read, has no tensors, or has a tensor or an
    Adam state again (such as raw and averaged generators).
    """
    tensors: Tensors = {}
    adam: dict[str, AdamState] = {}
    for path in paths:
        parts = list(_parts(_read(path), str(path)))
        if not parts:
            raise UserError(f"files={path}: expected tensors, got none. Give a state dict or a training checkpoint.")
        for where, part in parts:
            if not is_adam(part):
                named = _named_tensors(part, shapes, where=where)
                twice = [f"{name} in two state dicts" for name in named if name in tensors]
                tensors |= named
            elif found := read_adam(part, parameters, where=where):
                twice = [f"two Adam states of {found[0]}"] if found[0] in adam else []
                adam[found[0]] = found[1]
            else:
                continue
            if twice:
                raise UserError(f"files={where}: expected each network once, got {twice[0]}. Give files with each network once.")
    return tensors, adam


def write_safetensors(path: Path, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """Write a `.safetensors` file with tensors and metadata, atomically."""
    content = safetensors.numpy.save(tensors, metadata={"format": "pt", **metadata})
    write_atomically(path, lambda file: file.write(content))


def write_pth(path: Path, tensors: Tensors) -> None:
    """Write a state dict as `torch.save` does, atomically. Raise UserError if torch is not installed."""
    torch = _import_torch(f"out={path}")
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in tensors.items()}, buffer)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"files={path}: no such file. Give a PyTorch file ({', '.join(ENDINGS)}).")
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UserError(f"files={path}: expected a name ending in {', '.join(ENDINGS)}, got {path.suffix or 'no ending'}.")
    if ending == ".safetensors":
        return _read_safetensors(path)
    torch = _import_torch(f"files={path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What matters in it is an error too.
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Pickle, zip and torch raise many kinds of error on other files.
        got = f"another one, or a damaged one ({type(error).__name__})"
        hint = "Give a state dict or a training checkpoint."
        # torch names the class, and advises to run the file's code.
        if any(word in str(error) for word in ("Unsupported", "TorchScript")):
            got, hint = "a whole model or other Python objects", "In PyTorch save model.state_dict(), and give that file."
        raise UserError(f"files={path}: expected a file that torch.load(weights_only=True) reads, got {got}. {hint}") from None


def _read_safetensors(path: Path) -> Tensors:
    tensors: Tensors = {}
    try:
        for name, entry in sorted(safetensors.deserialize(path.read_bytes()), key=itemgetter(0)):
            kind = DTYPES.get(entry["dtype"])
            if kind is None:
                expected = f"tensors of the types {', '.join(DTYPES)}, got {name} of type {entry['dtype']}"
                raise UserError(f"files={path}: expected {expected}. Save it as F32.")
            array = np.frombuffer(entry["data"], kind).reshape(entry["shape"])
            tensors[name] = array.astype(np.float32) if entry["dtype"] in NOT_OF_NUMPY else array
    except safetensors.SafetensorError as error:
        got = f"expected a .safetensors file, got one that does not parse: {reason_of(error)}"
        raise UserError(f"files={path}: {got}. Give a state dict or a training checkpoint.") from None
    return tensors


def _import_torch(why: str) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(f"{why}: this format needs torch, which is not installed. Use .safetensors, or install torch.") from None
    return torch


def _parts(content: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (file and keys, part) for the state dicts and Adam states of a file: outer tensors first, then nested ones."""
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
    named = {original_name(name): _array(value, where=f"{where}: {shortened(str(name))}") for name, value in part.items()}
    if not all(name.startswith(NET_PREFIXES) for name in named):
        bare = {name.removeprefix("main."): array for name, array in named.items()}
        prefix = max(NET_PREFIXES, key=lambda prefix: _matches(prefix, bare, shapes))
        if _matches(prefix, bare, shapes):
            named = {prefix + name: array for name, array in bare.items()}
    return named


def original_name(name: str) -> str:
    """Return the name that a tensor has in the original, without what wrappers and parametrizations have put into it."""
    name = ".".join(piece for piece in name.split(".") if piece not in WRAPPERS)
    layer, found, rest = name.partition(".parametrizations.weight.")
    return f"{layer}.{PARAMETRIZED[rest]}" if found and rest in PARAMETRIZED else name


def parametrized_name(name: str) -> str:
    """Return the name of a tensor in networks that use `torch.nn.utils.parametrizations.spectral_norm`."""
    layer, _, last = name.rpartition(".")
    theirs = {ours: rest for rest, ours in PARAMETRIZED.items()}
    return f"{layer}.parametrizations.weight.{theirs[last]}" if last in theirs else name


def _matches(prefix: str, tensors: Tensors, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Count the convolution kernels that fit, with or without spectral normalisation: a later error names what differs."""
    kernels = {name.removesuffix("_orig"): shape for name, shape in shapes.items() if len(shape) == 4}
    return sum(kernels.get(prefix + name.removesuffix("_orig")) == array.shape for name, array in tensors.items())


def _array(value: Any, *, where: str) -> np.ndarray:
    """Return a tensor as numpy, bfloat16 (which numpy lacks) as float32. Raise UserError if numpy cannot hold it."""
    try:
        if not isinstance(value, np.ndarray):
            value = value.detach().cpu()
            held = value.untyped_storage().nbytes()
            if value.numel() * value.element_size() > held:
                raise TypeError(f"{list(value.shape)}, of which the file holds {held:,} bytes")
            value = (value.float() if value.is_floating_point() and value.element_size() < 4 else value).numpy()
        array: np.ndarray = value.astype(np.float32) if value.dtype.name == "bfloat16" else value
    except (AttributeError, TypeError, RuntimeError) as error:
        expected = f"expected a dense tensor of real numbers, got: {reason_of(error)}"
        raise UserError(f"files={where}: {expected}. Save the weights as plain tensors.") from None
    return array
