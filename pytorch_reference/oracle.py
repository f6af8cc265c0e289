"""The reference system in PyTorch, written from its description, as the standard for ours. Needs torch."""

import itertools
import sys
from collections.abc import Iterator, Mapping

# PyTorch's CUDA builds install Triton, which crashes a process that has already imported TensorFlow (seen with torch 2.13.0 and
# TensorFlow 2.21.0). Nothing here needs Triton, and PyTorch accepts that its import fails.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, spectral_norm


def _conv(layer: nn.Module, *, spectral: bool) -> nn.Module:
    return spectral_norm(layer) if spectral else layer


class Generator(nn.Module):
    """Five transposed convolutions, 1×1 to 64×64, batch norm after ReLU (or, in the DCGAN tutorial's order, before it)."""

    def __init__(self, *, nz: int, width: int, spectral: bool, norm_position: str = "post_activation") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = [nz, 8 * width, 4 * width, 2 * width, width]
        for i, (c_in, c_out) in enumerate(itertools.pairwise(channels)):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            conv = nn.ConvTranspose2d(c_in, c_out, 4, stride, padding, bias=False)
            layers += [_conv(conv, spectral=spectral), *_ordered(nn.ReLU(), nn.BatchNorm2d(c_out), norm_position)]
        layers += [_conv(nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), spectral=spectral), nn.Tanh()]
        self.gen = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.gen(z)


class Discriminator(nn.Module):
    """Five convolutions, 64×64 to a probability, batch norm after each LeakyReLU but the first; no spectral norm on the last."""

    def __init__(self, *, width: int, spectral: bool, norm_position: str = "post_activation") -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(nn.Conv2d(3, width, 4, 2, 1, bias=False), spectral=spectral), nn.LeakyReLU(0.2)]
        for c_in, c_out in ((width, 2 * width), (2 * width, 4 * width), (4 * width, 8 * width)):
            conv = nn.Conv2d(c_in, c_out, 4, 2, 1, bias=False)
            layers += [_conv(conv, spectral=spectral), *_ordered(nn.LeakyReLU(0.2), nn.BatchNorm2d(c_out), norm_position)]
        self.dis = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.dis(x)


def _ordered(activation: nn.Module, norm: nn.Module, norm_position: str) -> tuple[nn.Module, nn.Module]:
    return (activation, norm) if norm_position == "post_activation" else (norm, activation)


def initialise(net: nn.Module) -> None:
    """Draw the original's initial weights: convolutions N(0, 0.02²), batch norm's scale N(1, 0.02²) and bias 0.

    With spectral normalisation the drawn tensor is `weight_orig`; u and v were drawn with the layer and stay unchanged.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(getattr(layer, "weight_orig", layer.weight), 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


def load(net: nn.Module, tensors: Mapping[str, np.ndarray]) -> None:
    """Load a network's part of `tensors` (both networks', by the original's names), strictly."""
    part = {name: torch.tensor(array) for name, array in tensors.items() if name.startswith(_prefix(net))}
    net.load_state_dict(part, strict=True)


def _prefix(net: nn.Module) -> str:
    return "gen." if isinstance(net, Generator) else "dis."


def sample(gen: Generator, z: Tensor) -> Tensor:
    """Return G(z) [B, 3, 64, 64] for `z` [B, nz] with the statistics of this batch, as the original samples. Unlike there, u, v
    and the running statistics do not change."""
    kept = [buffer.clone() for buffer in gen.buffers()]
    gen.eval()
    for layer in gen.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train()
    with torch.no_grad():
        fake = gen(z[:, :, None, None])
        _set_buffers(gen, kept)
    gen.train()
    return fake


def replicate(net: nn.Module, count: int) -> None:
    """Make `net` compute on one device as `nn.DataParallel` does on `count`: each part of a batch runs through a replica that
    starts with the same buffers, and the first replica's buffers are kept."""
    forward = net.forward

    def in_parts(x: Tensor) -> Tensor:
        before = [buffer.clone() for buffer in net.buffers()]
        first, *others = x.chunk(count)
        outputs = [forward(first)]
        kept = [buffer.clone() for buffer in net.buffers()]
        for part in others:
            _set_buffers(net, before)
            outputs.append(forward(part))
        _set_buffers(net, kept)
        return torch.cat(outputs)

    net.forward = in_parts


def _set_buffers(net: nn.Module, values: list[Tensor]) -> None:
    for buffer, value in zip(net.buffers(), values, strict=True):
        buffer.data.copy_(value)  # `.data`, because autograd would report a change to a tensor of the backward pass.


class Training:
    """Both networks, their optimizers, and the reference's step."""

    def __init__(
        self, gen: Generator, disc: Discriminator, *, beta: float, clip_norm: float, lr: float = 2e-4, b1: float = 0.5
    ) -> None:
        self.gen, self.disc, self.beta, self.clip_norm = gen, disc, beta, clip_norm
        self._gen_adam, self._disc_adam = (torch.optim.Adam(net.parameters(), lr, (b1, 0.999)) for net in (gen, disc))

    def step(self, real: Tensor, z: Tensor) -> dict[str, float]:
        """Run one step on `real` [B, 3, 64, 64] in [−1, 1] and `z` [B, nz]. Return the logged metrics."""
        return {name: float(value.detach()) for name, value in self.update(real, z).items()}

    def update(self, real: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Run `step` without reading the metrics, because on a GPU reading waits for them."""
        bce = nn.functional.binary_cross_entropy
        ones, zeros = real.new_ones(len(real)), real.new_zeros(len(real))
        self.disc.zero_grad()
        d_real = self.disc(real).view(-1)
        loss_real = bce(d_real, ones)
        loss_real.backward()
        fake = self.gen(z[:, :, None, None])
        d_fake_before = self.disc(fake.detach()).view(-1)
        loss_fake = bce(d_fake_before, zeros) + self.beta * ((fake.detach() - real) ** 2).sum((1, 2, 3)).mean()
        loss_fake.backward()
        grad_norm_d = clip_grad_norm_(self.disc.parameters(), self.clip_norm or float("inf"))
        self._disc_adam.step()
        self.gen.zero_grad()
        d_fake_after = self.disc(fake).view(-1)
        loss_g = bce(d_fake_after, ones)
        loss_g.backward()
        grad_norm_g = clip_grad_norm_(self.gen.parameters(), float("inf"))
        self._gen_adam.step()
        return {
            "loss_d": loss_real + loss_fake, "loss_g": loss_g, "d_real": d_real.mean(),
            "d_fake_before": d_fake_before.mean(), "d_fake_after": d_fake_after.mean(),
            "grad_norm_d": grad_norm_d, "grad_norm_g": grad_norm_g,
        }  # fmt: skip

    def tensors(self) -> dict[str, np.ndarray]:
        """Return everything that training changes: parameters, statistics, u, v, counters, and Adam's moments."""
        return self.networks() | dict(self._moments())

    def networks(self) -> dict[str, np.ndarray]:
        """Return both state dicts in one."""
        return {name: tensor.numpy().copy() for net in (self.gen, self.disc) for name, tensor in net.state_dict().items()}

    def checkpoint(self) -> dict[str, object]:
        """Return a training checkpoint as PyTorch users save them."""
        return {
            "netG": self.gen.state_dict(), "netD": self.disc.state_dict(),
            "optimizerG": self._gen_adam.state_dict(), "optimizerD": self._disc_adam.state_dict(),
            "epoch": 3, "fixed_noise": torch.zeros(2, 4, 1, 1),
        }  # fmt: skip

    def _moments(self) -> Iterator[tuple[str, np.ndarray]]:
        for net, adam in ((self.gen, self._gen_adam), (self.disc, self._disc_adam)):
            for name, parameter in net.named_parameters():
                for moment in ("exp_avg", "exp_avg_sq"):
                    yield f"{name}.{moment}", adam.state[parameter][moment].numpy().copy()


def as_torch(real: np.ndarray) -> Tensor:
    """Return images [B, H, W, C] as [B, C, H, W], in the same dtype."""
    return torch.tensor(np.ascontiguousarray(real.transpose(0, 3, 1, 2)))
