"""PyTorch's step as its users would write it for a GPU: the oracle's step, written so that a CUDA graph can capture it.

The oracle uses the original's `torch.nn.utils.spectral_norm`, a hook that stores the normalised weight on the layer. Under CUDA
graphs that stored tensor is overwritten by the next pass, and `torch.compile(mode="reduce-overhead")` refuses it. Here spectral
normalisation is a parametrisation with the same arithmetic in the same order, and Adam is the capturable one.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pytorch_reference import oracle


class SpectralNorm(nn.Module):
    """weight / sigma with one power iteration a training pass: v = normalise(Wᵀu), u = normalise(Wv), sigma = uᵀWv.

    PyTorch's own parametrisation moves u before v, so it differs from the hook's numbers; this one does not.
    """

    u: Tensor
    v: Tensor

    def __init__(self, u: Tensor, v: Tensor, *, output_axis: int) -> None:
        super().__init__()
        self.output_axis = output_axis
        self.register_buffer("u", u.clone())
        self.register_buffer("v", v.clone())

    def forward(self, weight: Tensor) -> Tensor:
        matrix = weight.transpose(0, self.output_axis).flatten(1)  # [out, in*4*4]
        if self.training:
            with torch.no_grad():
                self.v.copy_(nn.functional.normalize(torch.mv(matrix.t(), self.u), dim=0, eps=1e-12))
                self.u.copy_(nn.functional.normalize(torch.mv(matrix, self.v), dim=0, eps=1e-12))
        # Clones: the next pass moves u and v before this pass's backward has read them.
        sigma = torch.dot(self.u.clone(), torch.mv(matrix, self.v.clone()))
        return weight / sigma


def parametrise(net: nn.Module, tensors: Mapping[str, np.ndarray]) -> None:
    """Load the oracle's `tensors` into a network built without spectral norm, and normalise the layers that the oracle does."""
    own = net.state_dict()
    plain = {name: torch.tensor(tensors.get(f"{name}_orig", tensors.get(name))) for name in own}
    net.load_state_dict(plain)
    for name, layer in net.named_modules():
        if f"{name}.weight_orig" in tensors:
            u, v = (torch.tensor(tensors[f"{name}.weight_{vector}"]) for vector in "uv")
            norm = SpectralNorm(u, v, output_axis=1 if isinstance(layer, nn.ConvTranspose2d) else 0)
            # unsafe: the check would call `norm`, which takes a power iteration.
            parametrize.register_parametrization(layer, "weight", norm, unsafe=True)


def make_training(
    tensors: Mapping[str, np.ndarray], *, nz: int, gen_width: int, disc_width: int, clip_norm: float, beta: float = 0.0
) -> tuple[nn.Module, nn.Module, Callable[[], Any]]:
    """Return (G, D, `start`): both networks with the oracle's weights. `start()` makes their `Training`, on their device."""
    gen = oracle.Generator(nz=nz, width=gen_width, spectral=False)
    disc = oracle.Discriminator(width=disc_width, spectral=False)
    parametrise(gen, tensors)
    parametrise(disc, tensors)

    def start() -> Any:
        training = oracle.Training(gen, disc, beta=beta, clip_norm=clip_norm)
        if next(gen.parameters()).is_cuda:
            training._gen_adam, training._disc_adam = (
                torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999), fused=True, capturable=True) for net in (gen, disc)
            )
        return training

    return gen, disc, start


class Captured:
    """One call of `update` as a CUDA graph, replayed by each call of this object. The warm-up runs real training steps.

    It keeps `update`, and so the networks and the batch, alive: the graph uses their memory and does not own it.
    """

    def __init__(self, update: Callable[[], Any], *, warm_up: int = 4) -> None:
        self._update = update
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(warm_up):
                update()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            update()

    def __call__(self) -> None:
        self._graph.replay()
