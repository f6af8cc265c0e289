"""Batches that the device gathers give the same bits as batches from the host, and `auto` chooses by size."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from jax import Array
from test_mesh import COLLECTIVE

from sharingan_jax.data.dataset import ArrayDataset, ImageDataset
from sharingan_jax.data.emblems.draw import draw_emblems
from sharingan_jax.data.order import BatchPlan
from sharingan_jax.data.pipeline import index_batches
from sharingan_jax.data.turned import TurnedDataset
from sharingan_jax.devices import stacked_seeds as stacked_module
from sharingan_jax.devices import trainer as trainer_module
from sharingan_jax.devices.feed import MEGABYTE, choose_feed
from sharingan_jax.devices.mesh import make_mesh
from sharingan_jax.devices.stacked_seeds import StackedTrainer, seeds_mesh
from sharingan_jax.devices.trainer import Trainer
from sharingan_jax.errors import UserError
from sharingan_jax.gan.gan import Gan
from sharingan_jax.gan.state import NetState, TrainState, digest
from sharingan_jax.gan.step import Metrics

pytestmark = pytest.mark.usefixtures("compiled_quickly")

CONFIG = smoke_config(model__gen__width="4", model__disc__width="4", model__conv_impl="direct")
NAMES = tuple(f"{i}.png" for i in range(20))
DATASET = ArrayDataset(images=draw_emblems(20, size=32)[0], names=NAMES, digests=NAMES)
LARGE = ArrayDataset(images=draw_emblems(20, size=64)[0], names=NAMES, digests=NAMES)
TURNED = TurnedDataset(upright=DATASET, large=LARGE, turns=3, mirrors=True, names=NAMES, digests=NAMES)
BATCH = 8


def _one_run(devices: int) -> Callable[[ImageDataset | None], Trainer]:
    return lambda dataset: Trainer(CONFIG, make_mesh(devices, batch_sizes={BATCH}), dataset=dataset)


def _stacked(devices: int) -> Callable[[ImageDataset | None], Trainer]:
    def make(dataset: ImageDataset | None) -> Trainer:
        mesh = make_mesh(1, batch_sizes={BATCH})
        return StackedTrainer(CONFIG, mesh, seeds_mesh=seeds_mesh(devices, seeds=2), seeds=2, dataset=dataset)

    return make


def _train(trainer: Trainer, dataset: ImageDataset, states: list[TrainState]) -> tuple[list[str], list[list[float]]]:
    """Return the digest and the metrics of each seed after a chunk of two steps and one of a single step."""
    plans = [BatchPlan(dataset.count, batch_size=BATCH, seed=seed, last_batch="drop") for seed in range(trainer.seeds)]
    state = trainer.to_device(states)
    metrics: list[list[float]] = [[] for _ in plans]
    for of_chunk in zip(*(index_batches(plan, [(1, 2), (3, 1)]) for plan in plans), strict=True):
        batches = of_chunk if trainer.dataset is not None else [dataset.gather(indices) for indices in of_chunk]
        state, found = trainer.run_steps(state, batches)
        for own, values in zip(metrics, trainer.metrics_to_host(found), strict=True):
            own += itertools.chain(*(values[name].tolist() for name in sorted(values)))
    return [digest(each) for each in trainer.to_host(state)], metrics


def _weigh(gan: Gan, state: TrainState, real: Array, z: Array, labels: Array | None = None) -> tuple[TrainState, Metrics]:
    """A step that only weighs its images, with a weight for each place of the batch, the latents' first number."""
    weighed = jnp.mean(z[:, 0] * real.mean((1, 2, 3)))
    weighed = weighed if gan.axis_name is None else jax.lax.pmean(weighed, gan.axis_name)
    return replace(state, step=state.step + 1), {"weighed": weighed}


@pytest.mark.parametrize(
    ("make", "dataset"),
    [
        pytest.param(_one_run(1), TURNED, id="one device, turned images"),
        pytest.param(_one_run(8), DATASET, id="eight devices"),
        pytest.param(_stacked(2), DATASET, id="stacked seeds"),
    ],
)
def test_the_device_gathers_the_planned_images(
    make: Callable[[ImageDataset | None], Trainer], dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (trainer_module, stacked_module):
        monkeypatch.setattr(module, "train_step", _weigh)
    empty = NetState({}, {}, {})
    states = [TrainState(np.int32(0), np.array([0, seed], np.uint32), empty, empty, None) for seed in (0, 1)]
    host, device = make(None), make(dataset)
    expected, found = (_train(one, dataset, states[: one.seeds]) for one in (host, device))
    assert found == expected
    assert len({value for own in found[1] for value in own}) == 3 * device.seeds  # All steps of all seeds differ.


@pytest.mark.slow
@pytest.mark.parametrize("make", [_one_run(1), _one_run(8)], ids=["one device", "eight devices"])
def test_training_has_the_same_bits_if_the_device_gathers_the_batches(make: Callable[[ImageDataset | None], Trainer]) -> None:
    host, device = make(None), make(DATASET)
    states = [jax.device_get(host.init(0))]
    assert _train(device, DATASET, states) == _train(host, DATASET, states)


def test_gathering_adds_no_exchange_between_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "train_step", _weigh)
    empty = NetState({}, {}, {})
    state = TrainState(np.int32(0), np.zeros(2, np.uint32), empty, empty, None)
    found = []
    for dataset in (None, DATASET):
        lowered = _one_run(8)(dataset).lower(state, steps=2, batch_size=BATCH, image_shape=DATASET.image_shape)
        found.append(COLLECTIVE.findall(lowered.compile().as_text()))
    assert found[0] == found[1] == ["all-reduce"]


def test_auto_keeps_on_the_device_what_fits_into_the_budget() -> None:
    images = np.zeros((2 * MEGABYTE // (32 * 32 * 3) + 1, 32, 32, 3), np.uint8)  # A little more than 2 MB.
    names = ("",) * len(images)
    large = ArrayDataset(images=images, names=names, digests=names)
    one, two = (make_mesh(devices, batch_sizes={BATCH}) for devices in (1, 2))

    def chosen(budget: int, mesh: jax.sharding.Mesh, feed: str = "auto") -> str:
        return choose_feed(replace(CONFIG.data, feed=feed, memory_mb=budget), large, mesh)

    assert [chosen(budget, one) for budget in (2, 3)] == ["tfdata", "device"]
    assert [chosen(budget, two) for budget in (4, 5)] == ["tfdata", "device"]  # Each device of a CPU has its own copy.
    assert [chosen(2, one, feed) for feed in ("device", "tfdata")] == ["device", "tfdata"]


def test_images_that_no_device_can_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharingan_jax.devices.feed.memory_limit", lambda device: 1000)
    with pytest.raises(UserError, match=r"^data\.feed=device: expected images that fit .* 0\.0 GB, .*data\.feed=tfdata\.$"):
        choose_feed(replace(CONFIG.data, feed="device"), DATASET, make_mesh(1, batch_sizes={BATCH}))
