"""Weights to PyTorch's modules and back: names, layouts, images, Adam, and the errors for files that do not fit."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest
import safetensors.numpy
from conftest import ROOT

import main
from pytorch_reference.replay import NZ, PRE_ACTIVATION, batch, make_oracle, relative_differences, small_config
from sharingan_jax.interop.tensor_table import disc_table, gen_table
from sharingan_jax.run import first_state
from sharingan_jax.run.latents import draw_run_latents

SMALL = [
    f"--config.model.nz={NZ}", "--config.model.gen.width=2", "--config.model.disc.width=2", "--config.model.conv_impl=direct",
    "--config.train.devices=1", "--config.train.batch_size=5", "--config.sample.num=5", "--config.log.tensorboard=False",
]  # fmt: skip


def _train(workdir: Path, *more: str, config: str = "default") -> int:
    return main.main(["--config", str(ROOT / "configs" / f"{config}.py"), "--workdir", str(workdir), *SMALL, *more])


def _import(workdir: Path, *more: str, files: list[Path], config: str = "default") -> int:
    where = ["--config", str(ROOT / "configs" / f"{config}.py"), "--workdir", str(workdir)]
    return main.main(["import", "--from", *map(str, files), *where, *SMALL, *more])


def _export(run: Path, out: Path, *more: str) -> Any:
    assert main.main(["export", "--workdir", str(run), "--format", "pytorch", "--out", str(out), *more]) == 0
    return safetensors.numpy.load_file(out) if out.suffix == ".safetensors" else None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps of the default system, two channels wide."""
    workdir = tmp_path_factory.mktemp("runs") / "small"
    assert _train(workdir, "--config.train.steps=4") == 0
    return workdir


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    out = run.parent / "networks.safetensors"
    _export(run, out)
    return out


def test_the_table_has_the_originals_names() -> None:
    config = small_config("stabilised")
    names = [row.name for row in gen_table(config) + disc_table(config) if row.array in ("kernel", "mean")]
    assert names == [
        "gen.0.weight_orig", "gen.2.running_mean", "gen.3.weight_orig", "gen.5.running_mean", "gen.6.weight_orig",
        "gen.8.running_mean", "gen.9.weight_orig", "gen.11.running_mean", "gen.12.weight_orig",
        "dis.0.weight_orig", "dis.2.weight_orig", "dis.4.running_mean", "dis.5.weight_orig", "dis.7.running_mean",
        "dis.8.weight_orig", "dis.10.running_mean", "dis.11.weight",
    ]  # fmt: skip
    plain = [row.name for row in gen_table(small_config("baseline", **PRE_ACTIVATION))]
    assert plain[:6] == ["gen.0.weight", "gen.1.weight", "gen.1.bias", "gen.1.running_mean", "gen.1.running_var", "gen.3.weight"]


@pytest.mark.parametrize("layout", ["conv", "transposed", "rows", "vector"])
def test_every_layout_survives_the_way_to_pytorch_and_back(layout: Any) -> None:
    from sharingan_jax.interop.tensor_table import Tensor

    array = np.arange(4 * 4 * 3 * 5 if layout in ("conv", "transposed") else 48)
    array = array.reshape(4, 4, 3, 5) if layout in ("conv", "transposed") else array
    row = Tensor("to8", "kernel", "gen.0.weight", layout, is_buffer=False)
    np.testing.assert_array_equal(row.from_torch(row.to_torch(array)), array)


def test_batch_norms_counters_are_the_training_passes(exported: Path) -> None:
    tensors = safetensors.numpy.load_file(exported)
    assert int(tensors["gen.2.num_batches_tracked"]) == 4
    assert int(tensors["dis.4.num_batches_tracked"]) == 12


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_pytorchs_modules_load_an_export_and_draw_the_same_images(run: Path, tmp_path: Path, ending: str) -> None:
    torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
    import safetensors.torch

    from pytorch_reference import oracle

    out = tmp_path / f"networks{ending}"
    _export(run, out)
    tensors = safetensors.torch.load_file(out) if ending == ".safetensors" else torch.load(out, weights_only=True)
    gen, disc = oracle.Generator(nz=NZ, width=2, spectral=True), oracle.Discriminator(width=2, spectral=True)
    for net, prefix in ((gen, "gen."), (disc, "dis.")):
        part = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        net.load_state_dict(part, strict=True)
    np.save(tmp_path / "z.npy", draw_run_latents(3, count=5, nz=NZ))
    z = torch.tensor(np.load(tmp_path / "z.npy"))
    with torch.no_grad():
        theirs = {"batch": oracle.sample(gen, z), "running": gen.eval()(z[:, :, None, None])}
    for statistics, fake in theirs.items():
        more = ["--latents", str(tmp_path / "z.npy"), "--statistics", statistics, "--out", str(tmp_path / "ours.npy")]
        assert main.main(["sample", "--workdir", str(run), *more]) == 0
        ours = np.load(tmp_path / "ours.npy").transpose(0, 3, 1, 2)
        np.testing.assert_allclose(ours, fake.numpy(), atol=1e-5, err_msg=statistics)


def test_an_imported_export_has_the_same_tensors_and_images(run: Path, exported: Path, tmp_path: Path) -> None:
    assert _import(tmp_path / "run", files=[exported]) == 0
    again = _export(tmp_path / "run", tmp_path / "again.safetensors")
    for name, array in safetensors.numpy.load_file(exported).items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(again[name], array, err_msg=name)
    for workdir, name in ((run, "a.npy"), (tmp_path / "run", "b.npy")):
        assert main.main(["sample", "--workdir", str(workdir), "--out", str(tmp_path / name)]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))


@pytest.mark.slow
def test_an_imported_run_continues_and_records_the_files_it_came_from(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    assert _import(tmp_path / "run", files=[exported]) == 0
    for steps in (1, 2):
        assert _train(tmp_path / "run", f"--config.train.steps={steps}") == 0
        manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
        assert list(manifest["origin"]["files"]) == [str(exported)]
    assert main.main(["verify", "--workdir", str(tmp_path / "run")]) == 0
    assert main.main(["--config", str(tmp_path / "run" / "manifest.json"), "--workdir", str(tmp_path / "again")]) == 2
    assert f"this run started from the weights in {exported}. Import them again" in capsys.readouterr().err
    assert _train(tmp_path / "other", "--config.train.steps=2") == 0
    assert json.loads((tmp_path / "other" / "manifest.json").read_text())["digest"] != manifest["digest"]


@pytest.mark.slow
def test_a_pytorch_run_continues_here_from_its_checkpoint_with_adams_moments(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
    from pytorch_reference import oracle
    from pytorch_reference.replay import replay_ours
    from sharingan_jax.interop.state_dict import moment_tensors, to_tensors
    from sharingan_jax.run.load import load_run

    torch.manual_seed(1)
    config = small_config("default")
    training = make_oracle(config, None, dtype="float32")
    for step in range(1, 4):
        real, z = batch(step)
        training.step(oracle.as_torch(real).float(), torch.tensor(z).float())
    checkpoint = training.checkpoint()
    checkpoint["netG"] = {f"module.{name}": tensor for name, tensor in training.gen.state_dict().items()}  # of DataParallel
    torch.save(checkpoint, tmp_path / "last.pth.tar")
    assert _import(tmp_path / "run", files=[tmp_path / "last.pth.tar"]) == 0
    run = load_run(tmp_path / "run")
    state = run.state(3)
    ours = to_tensors(run.config, state) | moment_tensors(run.config, state)
    theirs = training.tensors()
    assert max(relative_differences(ours, theirs).values()) == 0.0
    assert [int(optax.tree.get(net.opt, "count")) for net in (state.gen, state.disc)] == [3, 3]
    assert _train(tmp_path / "run", "--config.train.steps=5") == 0
    # The next step equals PyTorch's, which depends on Adam's moments and count.
    real, z = batch(4)
    metrics = training.step(oracle.as_torch(real).float(), torch.tensor(z).float())
    ours_after, our_metrics = replay_ours(config, state, steps=1, dtype="float32", first=4)
    np.testing.assert_allclose(our_metrics["loss_g"][0], metrics["loss_g"], rtol=1e-4)
    distance = relative_differences(
        {name: array for name, array in ours_after.items() if name.endswith("weight_orig")},
        {name: array for name, array in training.tensors().items() if name.endswith("weight_orig")},
    )
    assert max(distance.values()) < 1e-5, distance  # A wrong count or moment moves weights by 3e-4 or more.


def test_the_names_of_the_dcgan_tutorial_are_read_from_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
    torch.manual_seed(1)
    training = make_oracle(small_config("baseline", **PRE_ACTIVATION), None, dtype="float32")
    files = []
    for net, prefix in ((training.gen, "gen."), (training.disc, "dis.")):
        files.append(tmp_path / f"{prefix}pth")
        torch.save({f"main.{name.removeprefix(prefix)}": tensor for name, tensor in net.state_dict().items()}, files[-1])
    assert _import(tmp_path / "run", files=files, config="baseline") == 2
    flags = ["--config.model.gen.norm_position=pre_activation", "--config.model.disc.norm_position=pre_activation"]
    assert capsys.readouterr().err.endswith(f"). Use {' '.join(flags)}, which fits.\n")
    assert _import(tmp_path / "run", *flags, files=files, config="baseline") == 0
    exported = _export(tmp_path / "run", tmp_path / "again.safetensors")
    for name, array in training.networks().items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(exported[name], array, err_msg=name)


def test_a_generator_alone_that_does_not_fit_is_refused_with_the_flags_that_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
    torch.manual_seed(1)
    flags = ["--config.model.gen.norm_position=pre_activation"]
    gen = make_oracle(small_config("baseline", **PRE_ACTIVATION), None, dtype="float32").gen
    torch.save({f"main.{name.removeprefix('gen.')}": tensor for name, tensor in gen.state_dict().items()}, tmp_path / "netG.pth")
    assert _import(tmp_path / "run", files=[tmp_path / "netG.pth"], config="baseline") == 2
    assert capsys.readouterr().err.endswith(f"). Use {' '.join(flags)}, which fits.\n")
    assert _import(tmp_path / "run", *flags, files=[tmp_path / "netG.pth"], config="baseline") == 0


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="it writes the file")
    torch.save({"gen.0.\x1b[31mweight": torch.zeros(1, dtype=torch.bfloat16).expand(20000, 50000)}, tmp_path / "claims.pth")
    assert _import(tmp_path / "run", files=[tmp_path / "claims.pth"]) == 2
    error = capsys.readouterr().err
    assert "gen.0.\\x1b[31mweight: expected a dense tensor" in error
    assert "[20000, 50000], of which the file holds 2 bytes" in error


def test_the_error_for_tensors_that_do_not_fit_names_them_with_both_shapes(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = safetensors.numpy.load_file(exported)
    tensors["gen.3.weight_orig"] = tensors["gen.3.weight_orig"][:, :7]
    del tensors["dis.4.bias"]
    tensors["dis.99.weight"] = np.zeros((2, 3), np.float32)
    path = tmp_path / "odd.safetensors"
    safetensors.numpy.save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    assert _import(tmp_path / "run", files=[path]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "got others (missing: dis.4.bias [4]; unexpected: dis.99.weight [2, 3]; of another shape:" in error
    assert "; of another shape: gen.3.weight_orig [16, 7, 4, 4] in place of [16, 8, 4, 4]). Use the configuration" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.pth", None, "none.pth: no such file. Give a PyTorch file (.safetensors, .pth"),
        ("weights.zip", b"x", "weights.zip: expected a name ending in .safetensors, .pth, .pt, .tar, .ckpt, .bin, got .zip."),
        ("torn.safetensors", b"torn", "torn.safetensors: expected a .safetensors file, got one that does not parse: "),
        ("torn.pth", b"torn", "torn.pth: expected a file that torch.load(weights_only=True) reads, got another one, or"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert _import(tmp_path / "run", files=[tmp_path / name]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_adam_with_other_settings_is_refused_with_the_flags_that_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
    from pytorch_reference import oracle

    torch.manual_seed(1)
    training = make_oracle(small_config("default"), None, dtype="float32")
    real, z = batch(1)
    training.step(oracle.as_torch(real).float(), torch.tensor(z).float())
    torch.save(training.checkpoint(), tmp_path / "last.pth")
    assert _import(tmp_path / "run", "--config.optim.disc.lr=1e-4", files=[tmp_path / "last.pth"]) == 2
    assert "got optim.disc.lr=0.0002 in place of 0.0001. Use --config.optim.disc.lr=0.0002 to continue" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained_two_steps() -> Any:
    """A training checkpoint of the oracle after two steps."""
    torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
    from pytorch_reference import oracle

    torch.manual_seed(1)
    training = make_oracle(small_config("default"), None, dtype="float32")
    for step in (1, 2):
        real, z = batch(step)
        training.step(oracle.as_torch(real).float(), torch.tensor(z).float())
    return training.checkpoint()


def _state(checkpoint: Any, index: int = 0) -> Any:
    return checkpoint["optimizerG"]["state"][index]


def _group(checkpoint: Any) -> Any:
    return checkpoint["optimizerG"]["param_groups"][0]


ODD_ADAMS: dict[str, tuple[Callable[[Any], object], str]] = {
    "a NaN moment": (lambda c: _state(c)["exp_avg"].fill_(float("nan")), "expected finite moments of Adam"),
    "a negative second moment": (lambda c: _state(c)["exp_avg_sq"].sub_(9), "and second moments of at least 0, got others"),
    "two steps": (
        lambda c: _state(c)["step"].add_(1),
        "expected one step of Adam for all parameters, at least 1 and whole, got [2.0, 3.0]",
    ),
    "a step that is no number": (
        lambda c: [_state(c, i)["step"].fill_(float("nan")) for i in range(13)],
        "expected one step of Adam for all parameters, at least 1 and whole, got [nan",
    ),
    "another optimizer's state": (lambda c: _state(c).update(mu_product=1.0), "expected plain Adam with a state for every"),
    "another optimizer's group": (lambda c: _group(c).pop("amsgrad"), "expected plain Adam with a state for every"),
    "maximize": (lambda c: _group(c).update(maximize=True), "without weight_decay, amsgrad, maximize, got others"),
    "no betas": (lambda c: _group(c).pop("betas"), "expected an optimizer's state as PyTorch writes it, got KeyError: 'betas'"),
    "networks apart": (
        lambda c: [state["step"].add_(5) for state in c["optimizerG"]["state"].values()],
        "expected 2 updates of G after 2 updates of D with train.n_critic=1, got 7",
    ),
    "one network's": (lambda c: c.pop("optimizerD"), "expected Adam's state of both networks or of none, got only that of gen"),
    "weights of whole numbers": (
        lambda c: c["netG"].update({"gen.0.weight_orig": c["netG"]["gen.0.weight_orig"].int()}),
        "expected weights in floating point, got gen.0.weight_orig of type int32",
    ),
    "weights past float32": (
        lambda c: c["netG"].update({"gen.0.weight_orig": c["netG"]["gen.0.weight_orig"].double() * 1e60}),
        "expected finite numbers that fit a float32, got others in gen.0.weight_orig",
    ),
    "a sparse tensor": (
        lambda c: c["netG"].update({"gen.0.weight_orig": c["netG"]["gen.0.weight_orig"].to_sparse()}),
        "gen.0.weight_orig: expected a dense tensor of real numbers, got: ",
    ),
    "a counter of no layer": (
        lambda c: c["netG"].update({"gen.99.num_batches_tracked": c["netG"]["gen.0.weight_orig"]}),
        "unexpected: gen.99.num_batches_tracked",
    ),
}


@pytest.mark.parametrize("oddity", ODD_ADAMS)
def test_an_odd_checkpoint_is_refused_with_one_line(
    trained_two_steps: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], oddity: str
) -> None:
    torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
    change, message = ODD_ADAMS[oddity]
    checkpoint = copy.deepcopy(trained_two_steps)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "last.pth")
    assert _import(tmp_path / "run", files=[tmp_path / "last.pth"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_optimizers_in_a_list_and_learning_rates_in_tensors_are_read(
    trained_two_steps: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="the oracle needs torch; see requirements-dev.txt")
    checkpoint = copy.deepcopy(trained_two_steps)
    _group(checkpoint)["lr"] = torch.tensor(2e-4)
    checkpoint["optimizer_states"] = [checkpoint.pop("optimizerG"), checkpoint.pop("optimizerD")]
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert _import(tmp_path / "run", files=[tmp_path / "last.ckpt"]) == 0
    assert "step 2, with Adam's state" in capsys.readouterr().out


def test_an_interrupted_import_leaves_no_run(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(first_state, "write_config", _out_of_disk)
        assert _import(tmp_path / "run", files=[exported]) == 2
    assert not (tmp_path / "run").exists()
    assert _import(tmp_path / "run", files=[exported]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def _out_of_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_with_other_files_is_refused(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert _import(tmp_path, files=[exported]) == 2
    assert "exists and is not an empty folder. Give a new folder." in capsys.readouterr().err


def test_an_empty_folder_is_accepted_and_the_current_folder_is_refused(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert _import(tmp_path / "empty", files=[exported]) == 0
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert _import(Path("."), files=[exported]) == 2
    assert "is the current folder. Give a new folder." in capsys.readouterr().err


def test_a_network_in_two_files_is_refused(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _import(tmp_path / "run", files=[exported, exported]) == 2
    first = min(safetensors.numpy.load_file(exported))
    message = f": expected each network once, got {first} in two state dicts. Give files with each network once.\n"
    assert capsys.readouterr().err.endswith(message)


def test_a_folder_with_a_run_is_refused(run: Path, exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _import(run, files=[exported]) == 2
    assert "holds a run already. Give a new folder." in capsys.readouterr().err
