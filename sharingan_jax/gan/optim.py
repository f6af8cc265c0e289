"""optax chains: global-norm clipping as PyTorch does it, then Adam with PyTorch's precision, or SGD."""

import math

import jax
import jax.numpy as jnp
import optax
from jax import Array

from sharingan_jax.config.schema import AdamConfig


def build_optimizer(config: AdamConfig) -> optax.GradientTransformation:
    """Return the chain of clipping (if `clip_norm` is above 0), Adam or SGD, and the configured schedule.

    SGD's momentum is `b1`: m ← b1 · m + g, and the step is lr · m. Torch: `SGD(momentum=b1)`. SGD for D with Adam for G is advice
    of Chintala et al. 2016, "How to Train a GAN? Tips and tricks to make GANs work". Each network has its own rate, as in Heusel
    et al. 2017, "GANs Trained by a Two Time-Scale Update Rule".
    """
    if config.name == "adam":
        direction = scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps)
    else:
        direction = optax.trace(decay=config.b1)
    steps = optax.scale_by_learning_rate(learning_rate(config))
    if config.clip_norm == 0:
        return optax.chain(direction, steps)
    return optax.chain(clip_by_global_norm(config.clip_norm), direction, steps)


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """Scale all gradients by min(1, max_norm / (‖g‖ + 1e-6)), with ‖g‖ over all gradients of a network together.

    Torch: `clip_grad_norm_` adds the 1e-6; `optax.clip_by_global_norm` does not, and so differs by that much.
    """

    def clip(grads: optax.Updates, _: optax.Params | None) -> optax.Updates:
        scale = jnp.minimum(1.0, max_norm / (optax.tree.norm(grads) + 1e-6))
        return jax.tree.map(lambda g: g * scale, grads)

    return optax.stateless(clip)


def scale_by_adam(*, b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Scale gradients to m̂ / (√v̂ + eps), with optax's state. Paper: Kingma & Ba 2015, "Adam", algorithm 1.

    Torch: corrects the bias of the moments in float64. `optax.scale_by_adam` corrects it in float32, where 1 − 0.999 has lost
    five digits: its first step is too long by a factor of 1 + 6e-6, a hundred times the rounding of float32.
    """

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        zeros = optax.tree.zeros_like(params)
        return optax.ScaleByAdamState(count=jnp.zeros((), jnp.int32), mu=zeros, nu=zeros)

    def update(
        grads: optax.Updates, state: optax.OptState, _: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        assert isinstance(state, optax.ScaleByAdamState)
        count = state.count + 1
        mu = optax.tree.update_moment(grads, state.mu, b1, 1)
        nu = optax.tree.update_moment(grads, state.nu, b2, 2)
        first, second = _one_minus_power(b1, count), _one_minus_power(b2, count)
        updates = jax.tree.map(lambda m, v: m / first / (jnp.sqrt(v / second) + eps), mu, nu)
        return updates, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)


def _one_minus_power(decay: float, count: Array) -> Array:
    """Return 1 − decay^count, accurate even if the power is close to 1."""
    logarithm = math.log(decay) if decay > 0 else -math.inf
    return -jnp.expm1(count * jnp.asarray(logarithm))


def learning_rate(config: AdamConfig) -> optax.Schedule | float:
    """Return the step size, constant or as a function of the number of updates done.

    The lengths of a schedule are settings in updates, not shares of the run. So a run can be given more steps later. Papers:
    Loshchilov & Hutter 2017, "SGDR", equation 5 (cosine, one period); Goyal et al. 2017, "Accurate, Large Minibatch SGD", section
    2.2 (warm-up).
    """
    match config.schedule:
        case "constant":
            after_warmup = optax.constant_schedule(config.lr)
            if config.warmup_steps == 0:
                return config.lr
        case "linear":
            after_warmup = optax.linear_schedule(config.lr, config.end_lr, config.decay_steps)
        case "cosine":
            after_warmup = optax.cosine_decay_schedule(config.lr, config.decay_steps, alpha=config.end_lr / config.lr)
        case _:
            raise ValueError(f"no schedule {config.schedule!r}")
    if config.warmup_steps == 0:
        return after_warmup
    warmup = optax.linear_schedule(0.0, config.lr, config.warmup_steps)
    return optax.join_schedules([warmup, after_warmup], [config.warmup_steps])
