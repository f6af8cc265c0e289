"""The reference system in PyTorch, written from its description, to hold ours against. Needs torch; nothing else imports it."""

import itertools
import sys
from typing import Any

# PyTorch's CUDA builds bring Triton, which crashes the process that has TensorFlow in it already (seen with torch 2.13.0 and
# TensorFlow 2.21.0). Nothing here is compiled by it; an import that fails is what PyTorch expects where it is missing.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, spectral_norm

from sharingan_jax.state import NetState


def _conv(layer: nn.Module, *, normalised: bool) -> nn.Module:
    return spectral_norm(layer) if normalised else layer


def make_generator(*, nz: int, ngf: int, normalised: bool) -> nn.Sequential:
    """Five transposed convolutions, 1×1 to 64×64, batch norm behind ReLU."""
    layers: list[nn.Module] = []
    widths = [nz, 8 * ngf, 4 * ngf, 2 * ngf, ngf]
    for i, (c_in, c_out) in enumerate(itertools.pairwise(widths)):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        conv = nn.ConvTranspose2d(c_in, c_out, 4, stride, padding, bias=False)
        layers += [_conv(conv, normalised=normalised), nn.ReLU(), nn.BatchNorm2d(c_out)]
    layers += [_conv(nn.ConvTranspose2d(ngf, 3, 4, 2, 1, bias=False), normalised=normalised), nn.Tanh()]
    return nn.Sequential(*layers)


def make_discriminator(*, ndf: int, normalised: bool) -> nn.Sequential:
    """Five convolutions, 64×64 to a probability, batch norm behind LeakyReLU but the first; the last is never normalised."""
    layers: list[nn.Module] = [_conv(nn.Conv2d(3, ndf, 4, 2, 1, bias=False), normalised=normalised), nn.LeakyReLU(0.2)]
    for c_in, c_out in ((ndf, 2 * ndf), (2 * ndf, 4 * ndf), (4 * ndf, 8 * ndf)):
        conv = nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False)
        layers += [_conv(conv, normalised=normalised), nn.LeakyReLU(0.2), nn.BatchNorm2d(c_out)]
    return nn.Sequential(*layers, nn.Conv2d(8 * ndf, 1, 4, 1, 0, bias=False), nn.Sigmoid())


GEN_NAMES = {0: "to4", 2: "bn4", 3: "to8", 5: "bn8", 6: "to16", 8: "bn16", 9: "to32", 11: "bn32", 12: "to64"}
DISC_NAMES = {0: "to32", 2: "to16", 4: "bn16", 5: "to8", 7: "bn8", 8: "to4", 10: "bn4", 11: "to1"}


def load(net: nn.Sequential, state: NetState, names: dict[int, str]) -> None:
    """Puts our weights and buffers into the PyTorch network, in its layouts."""
    for place, name in names.items():
        for target, array in _tensors(net[place], state, name).items():
            getattr(net[place], target).data = torch.tensor(array)


def _tensors(layer: nn.Module, state: NetState, name: str) -> dict[str, np.ndarray]:
    """Our arrays under PyTorch's names and in its layouts, for one layer."""
    params = {key: np.asarray(value) for key, value in state.params[name].items()}
    buffers = {key: np.asarray(value) for key, value in state.buffers.get(name, {}).items()}
    if name.startswith("bn"):
        return {"weight": params["scale"], "bias": params["bias"], "running_mean": buffers["mean"], "running_var": buffers["var"]}
    axes = (2, 3, 0, 1) if isinstance(layer, nn.ConvTranspose2d) else (3, 2, 0, 1)
    kernel = params["kernel"].transpose(axes).copy()
    if "u" not in buffers:
        return {"weight": kernel}
    v = buffers["v"].reshape(4, 4, -1).transpose(2, 0, 1).reshape(-1).copy()
    return {"weight_orig": kernel, "weight_u": buffers["u"], "weight_v": v}


def differences(net: nn.Sequential, state: NetState, names: dict[int, str]) -> dict[str, float]:
    """The largest absolute difference of each tensor."""
    found = {}
    for place, name in names.items():
        for target, array in _tensors(net[place], state, name).items():
            found[f"{name}.{target}"] = float(np.abs(getattr(net[place], target).detach().numpy() - array).max())
    return found


class Training:
    """Both networks, their optimizers, and the reference's step."""

    def __init__(self, gen: nn.Sequential, disc: nn.Sequential, *, beta: float, clip_norm: float) -> None:
        self.gen, self.disc, self.beta, self.clip_norm = gen, disc, beta, clip_norm
        self._gen_adam, self._disc_adam = (torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (gen, disc))

    def step(self, real: Tensor, z: Tensor) -> dict[str, Any]:
        """One step on `real` [B, 3, 64, 64] in [−1, 1] and `z` [B, nz]; returns the logged figures."""
        bce, ones, zeros = nn.functional.binary_cross_entropy, torch.ones(len(real)), torch.zeros(len(real))
        self.disc.zero_grad()
        d_real = self.disc(real).view(-1)
        loss_real = bce(d_real, ones)
        loss_real.backward()
        fake = self.gen(z[:, :, None, None])
        d_fake_before = self.disc(fake.detach()).view(-1)
        loss_fake = bce(d_fake_before, zeros) + self.beta * ((fake.detach() - real) ** 2).sum((1, 2, 3)).mean()
        loss_fake.backward()
        if self.clip_norm:
            clip_grad_norm_(self.disc.parameters(), self.clip_norm)
        self._disc_adam.step()
        self.gen.zero_grad()
        d_fake_after = self.disc(fake).view(-1)
        loss_g = bce(d_fake_after, ones)
        loss_g.backward()
        self._gen_adam.step()
        figures = {
            "loss_d": loss_real + loss_fake, "loss_g": loss_g, "d_real": d_real.mean(),
            "d_fake_before": d_fake_before.mean(), "d_fake_after": d_fake_after.mean(),
        }  # fmt: skip
        return {name: float(value.detach()) for name, value in figures.items()}
