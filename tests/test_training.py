"""Training: it learns, resumes to the same weights, checkpoints are atomic, and the result is proven."""

from __future__ import annotations

import csv
import dataclasses
import math
import shutil
from pathlib import Path

import catalogue
import numpy as np
import pytest
import torch

from pnpkit.errors import InputError
from pnpkit.networks.architectures import build
from pnpkit.networks.euler import Euler
from pnpkit.training import batches, curve, growth, steering
from pnpkit.training.config import TrainingConfig
from pnpkit.training.loop import train
from pnpkit.training.muon import orthogonalised
from pnpkit.training.run import Run, averaged, finish

CONFIG = TrainingConfig(steps=12, batch=4, patch=16, warmup=2, checkpoint_minutes=1e9)


def pictures() -> list[np.ndarray]:
    rows, columns = np.mgrid[:40, :48]
    waves = (
        127
        + 60 * np.sin(rows / 5)[..., None]
        + 60 * np.cos(columns / np.array([4.0, 7.0, 9.0])[:, None, None]).T.swapaxes(0, 1)
    )
    return [np.clip(waves, 0, 255).astype(np.uint8)]


def small(name: str = "euler") -> Run:
    torch.manual_seed(0)
    arguments = {"blocks": 2, "channels": 8, "hidden": 8} if name == "euler" else {"depth": 3, "channels": 8}
    return Run(build(name, arguments), CONFIG)


@pytest.mark.parametrize("name", ["euler", "dncnn"])
@pytest.mark.parametrize("half", [False, True])
def test_both_networks_learn_under_one_protocol(name: str, half: bool, tmp_path: Path) -> None:
    run, losses = small(name), []
    run.config = TrainingConfig(steps=200, batch=4, patch=16, warmup=2, learning_rate=3e-3, table_rate=5)
    train(run, pictures(), pictures(), tmp_path, half=half, on_step=lambda run, loss: losses.append(loss))
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    with (tmp_path / "training.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    assert int(row["step"]) == 200 and float(row["psnr_25"]) > 20.2  # the noisy picture: 20.17


@pytest.mark.parametrize("shape", [(16, 144), (40, 20), (32, 32)])
def test_muon_moves_a_kernel_along_all_its_singular_directions(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    u, _, vt = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    spread = torch.logspace(0, -1.5, min(shape))
    moved = orthogonalised(u @ torch.diag(spread) @ vt)
    torch.testing.assert_close(u.mT @ moved @ vt.mT, torch.diag((u.mT @ moved @ vt.mT).diag()), atol=1e-4, rtol=0)
    found = torch.linalg.svdvals(moved)
    assert 0.65 < float(found.min()) and float(found.max()) < 1.25


def test_muon_takes_the_inner_kernels_and_adam_the_rest() -> None:
    torch.manual_seed(0)
    network = build("dncnn", {"depth": 4, "channels": 16})
    config = dataclasses.replace(CONFIG, kernel_rate=10.0)
    run, before = Run(network, config), {name: p.detach().clone() for name, p in network.named_parameters()}
    inner = {"layers.1.weight", "layers.2.weight"}
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    run.optimizer.step()
    for name, parameter in network.named_parameters():
        moved = (parameter.detach() - before[name]) / config.learning_rate
        if name in inner:
            values = torch.linalg.svdvals(moved.flatten(1))
            assert 0.65 < float(values.min()) and float(values.max()) < 1.25
        else:
            torch.testing.assert_close(moved.abs(), torch.ones_like(moved), atol=1e-2, rtol=0)  # Adam's first step
    assert [group["scale"] for group in run.optimizer.param_groups] == [1, 10], "the loop multiplies the rate by it"
    assert len(steering.parameter_groups(network, CONFIG)) == 1


@pytest.mark.parametrize("lift", [{"channels": 16}, {"channels": 64, "overlapping": True}])
def test_a_mirrored_network_learns_as_all_its_filters_and_ends_proven(lift: dict, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("euler", {"blocks": 2, "hidden": 64, "unshuffle": 2, "padding": "mirror", **lift})
    config = dataclasses.replace(CONFIG, steps=100, learning_rate=2e-3, table_rate=5, kernel_rate=3.0)
    run, losses = Run(network, config), []
    assert [(group["scale"], "spread" in group) for group in run.optimizer.param_groups] == [(5, False), (3, True)]
    train(run, pictures(), pictures(), tmp_path, half=False, on_step=lambda run, loss: losses.append(loss))
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    finish(run)
    assert network.certificate.averaged and network.steps()[0].kernel.shape == (16, lift["channels"], 3, 3)
    if network.windows is not None:
        assert (network.windows.angle - math.pi / 4).abs().min() > 1e-3


@pytest.mark.parametrize("kernel_rate", [0.0, 10.0])
def test_an_interrupted_run_ends_with_the_same_weights(kernel_rate: float, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, kernel_rate=kernel_rate)

    def small() -> Run:
        torch.manual_seed(0)
        return Run(build("euler", {"blocks": 2, "channels": 16, "hidden": 16}), config)

    whole = small()
    train(whole, pictures(), pictures(), tmp_path / "whole", half=False)

    class Interrupt(Exception):
        pass

    def stop(run: Run, loss: float) -> None:
        if run.step == 5:
            run.save(tmp_path / "checkpoint.safetensors")
            raise Interrupt

    with pytest.raises(Interrupt):
        train(small(), pictures(), pictures(), tmp_path, half=False, on_step=stop)
    assert [p.name for p in tmp_path.glob("checkpoint*")] == ["checkpoint.safetensors"]
    resumed = small()
    resumed.load(tmp_path / "checkpoint.safetensors")
    assert resumed.step == 5
    train(resumed, pictures(), pictures(), tmp_path, half=False)
    for one, two in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-7)


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch asks, and hides it
def test_a_compiled_network_trains_as_a_plain_one(tmp_path: Path) -> None:
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        run, losses = Run(build("euler", {"blocks": 1, "channels": 8, "hidden": 8}), CONFIG), []
        run.config = dataclasses.replace(CONFIG, steps=3)
        folder = tmp_path / str(compiled)
        on_step = lambda run, loss, losses=losses: losses.append(loss)  # noqa: E731
        train(run, pictures(), pictures(), folder, half=False, compiled=compiled, on_step=on_step)
        found.append((losses, list(run.network.state_dict())))
    (plain, names), (fused, other_names) = found
    np.testing.assert_allclose(fused, plain, rtol=1e-4)
    assert names == other_names, "the checkpoint does not know that the network was compiled"


def test_the_curve_of_an_older_run_keeps_its_columns(tmp_path: Path) -> None:
    (tmp_path / "training.csv").write_text("step,loss\n1,0.5\n")
    train(small(), pictures(), pictures(), tmp_path, half=False, limit=7)
    train(small(), pictures(), pictures(), tmp_path / "new", half=False, limit=7)
    with (tmp_path / "training.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [["step", "loss"]] * 2 and rows[1]["step"] == "12"
    with (tmp_path / "new" / "training.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["convolutions_alone"]) == 7 and float(row["patches_per_second"]) > 0


def test_a_finished_network_is_plain_and_proven(tmp_path: Path) -> None:
    run = small()
    train(run, pictures(), pictures(), tmp_path, half=False)
    finish(run)
    network = run.network
    assert isinstance(network, Euler)
    assert set(dict(network.named_parameters())) == set(dict(catalogue.euler().named_parameters()))
    assert network.certificate.averaged
    assert all(0.9 < block.norm_bound() < 1.05 for block in network.steps())


def test_finishing_keeps_the_averaged_weights(tmp_path: Path) -> None:
    run = small()
    train(run, pictures(), pictures(), tmp_path, half=False)
    x = catalogue.image().float()
    with averaged(run), torch.no_grad():
        expected = run.network(x, 0.1)
    finish(run)
    torch.testing.assert_close(run.network(x, 0.1), expected, atol=2e-3, rtol=0)


def test_a_skew_below_one_draws_strong_noise_more_often() -> None:
    """P(level > top / 2) = 1 - 2^(-1 / skew): a half for 1, three quarters for 1/2."""
    shares = []
    for skew in (1.0, 0.5):
        config = dataclasses.replace(CONFIG, level_skew=skew, batch=2000, patch=8)
        _, _, level = next(iter(batches.Batches(pictures(), config, torch.Generator().manual_seed(0))))
        assert 0 <= level.min() and level.max() <= config.top
        shares.append(float((level > config.top / 2).float().mean()))
    assert shares == pytest.approx([0.5, 0.75], abs=0.05)


def test_batches_are_seeded_and_levels_cover_the_range() -> None:
    def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return next(iter(batches.Batches(pictures(), CONFIG, torch.Generator().manual_seed(seed))))

    for one, two in zip(batch(1), batch(1), strict=True):
        torch.testing.assert_close(one, two)
    assert not torch.equal(batch(1)[0], batch(2)[0])
    stream = iter(batches.Batches(pictures(), CONFIG, torch.Generator().manual_seed(0)))
    levels = torch.cat([next(stream)[2] for _ in range(50)])
    assert 0 <= float(levels.min()) < 0.01 and 0.185 < float(levels.max()) <= CONFIG.top


def test_small_or_missing_pictures_are_refused() -> None:
    for bad in ([], [np.zeros((8, 80, 3), np.uint8)]):
        with pytest.raises(InputError, match="at least 16 pixels"):
            batches.Batches(bad, CONFIG, torch.Generator())


def test_nan_stops_training(tmp_path: Path) -> None:
    run = small()
    with torch.no_grad():
        next(iter(run.network.parameters())).fill_(float("nan"))
    with pytest.raises(InputError, match="diverged at step 0"):
        train(run, pictures(), pictures(), tmp_path)


def test_warm_start_keeps_what_was_learnt() -> None:
    source = catalogue.euler(blocks=2)
    with pytest.raises(InputError, match="no place for 1 steps of the source"):
        growth.warm_start(catalogue.euler(blocks=1), source)
    larger = catalogue.euler(blocks=4, scales=(1, 2))
    growth.warm_start(larger, source, small=1e-6)
    x = catalogue.image(1, 3, 10, 12)
    torch.testing.assert_close(larger(x, 0.1), source(x, 0.1), atol=1e-5, rtol=0)
    deeper = catalogue.euler(blocks=5)
    growth.warm_start(deeper, source, small=1e-6)
    torch.testing.assert_close(deeper(x, 0.1), source(x, 0.1), atol=1e-5, rtol=0)
    new = [float(block.activation.high.values.detach().max()) < math.log(1e-5) for block in deeper.steps()]
    assert new == [False, True, True, False, True]  # the old ones are spread out
    wider = catalogue.euler(blocks=2, hidden=2 * source.config.hidden)
    growth.warm_start(wider, source)
    torch.testing.assert_close(wider(x, 0.1), source(x, 0.1), atol=0.03, rtol=0)
    assert (wider(x, 0.1) - source(x, 0.1)).abs().max() > 1e-4
    count = source.config.hidden
    for block, old in zip(wider.steps(), source.steps(), strict=True):
        assert torch.equal(block.kernel[:count], old.kernel) and torch.equal(block.raw_step, old.raw_step)
        norms = block.kernel.flatten(1).norm(dim=1)
        assert 0.01 < norms[count:].mean() < 0.5 * norms[:count].mean()
    dncnn, other = catalogue.dncnn(), build("dncnn", {"depth": 3, "channels": 8})
    growth.warm_start(other, dncnn)
    assert torch.equal(other(x, 0.1), dncnn(x, 0.1))


def test_a_mirrored_network_grows_out_of_a_mirrored_one() -> None:
    mirrored = {"blocks": 2, "channels": 16, "unshuffle": 2, "padding": "mirror"}
    source, wider = catalogue.euler(**mirrored, hidden=16), catalogue.euler(**mirrored, hidden=32)
    growth.warm_start(wider, source)
    x = catalogue.image(1, 3, 10, 11)
    torch.testing.assert_close(wider(x, 0.1), source(x, 0.1), atol=0.03, rtol=0)
    assert torch.equal(wider.steps()[0].kernel[:4], source.steps()[0].kernel)
    through = mirrored | {"channels": 48, "overlapping": True}
    windows, again = catalogue.euler(**through), catalogue.euler(**through, hidden=16)
    windows.windows.angle.data.fill_(0.3)
    growth.warm_start(again, windows)
    assert torch.equal(again.windows.angle, windows.windows.angle)
    assert torch.equal(growth.without_small_steps(again, 0.0).windows.angle, windows.windows.angle)
    with pytest.raises(InputError, match="another lift"):
        growth.warm_start(windows, catalogue.euler(**mirrored | {"channels": 48}))
    plain = catalogue.euler(blocks=2, channels=16, unshuffle=2, hidden=4)  # as many filters as the other learns
    with pytest.raises(InputError, match="no place"):
        growth.warm_start(wider, plain)


def test_between_and_beyond_two_networks_is_a_proven_one() -> None:
    first, second = catalogue.euler(), catalogue.euler()
    for parameter in second.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=catalogue.generator(7))
    second.secure()
    x = catalogue.image(1, 3, 10, 12)
    for times, same in ((0.0, first), (1.0, second)):
        torch.testing.assert_close(growth.along(first, second, times).double()(x, 0.1), same(x, 0.1), atol=1e-5, rtol=0)
    beyond = growth.along(first, second, 1.5)
    a, b, c = (network.steps()[0].activation.low.values for network in (first, second, beyond))
    torch.testing.assert_close(c, (a + 1.5 * (b - a)).to(c.dtype))
    assert beyond.certify().averaged
    with pytest.raises(InputError, match="other shapes"):
        growth.along(first, catalogue.euler(blocks=3), 0.5)


def test_steps_that_do_next_to_nothing_can_be_left_out() -> None:
    network = catalogue.euler(blocks=3)
    with torch.no_grad():
        network.steps()[1].raw_step.fill_(-12.0)
    smaller = growth.without_small_steps(network, 0.2)
    x = catalogue.image(1, 3, 10, 12)
    assert smaller.config.blocks == len(smaller.steps()) == 2
    torch.testing.assert_close(smaller(x, 0.1), network(x, 0.1), atol=1e-4, rtol=0)
    assert smaller.certify().averaged
    with pytest.raises(InputError, match="same scale"):
        growth.without_small_steps(catalogue.euler(blocks=2, scales=(1, 2)), 0.2)


def state(run: Run) -> dict[str, torch.Tensor]:
    """Everything that a run goes on from."""
    run_state = {f"network {name}": p.detach() for name, p in run.network.named_parameters()}
    run_state |= {f"average {name}": value for name, value in run.average.items()}
    for name, parameter in run.network.named_parameters():
        for key, value in run.optimizer.state[parameter].items():
            run_state[f"{key} {name}"] = value
    for number, steered in enumerate(steering.steerings(run.network)):
        assert steered.right is not None
        run_state[f"steering {number}"] = steered.right
    return run_state | {"randomness": run.randomness}


@pytest.mark.parametrize("rate", [0.0, 8.0])
@pytest.mark.parametrize("every", [1, 5])
def test_recording_the_curve_changes_nothing(
    rate: float, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs with one seed, of which one writes checkpoints: bit by bit the same."""
    plain, watched = wide(rate), wide(rate)
    train(plain, pictures(), pictures(), tmp_path / "plain", half=False)

    def recorded(run: Run, loss: float) -> None:
        if run.step % every == 0:
            curve.record(run, [loss], pictures(), tmp_path / "watched", 0.0)

    train(watched, pictures(), pictures(), tmp_path / "watched", half=False, on_step=recorded)
    one, two = state(plain), state(watched)
    assert set(one) == set(two) and all(torch.equal(one[name], two[name]) for name in one)
    assert len((tmp_path / "watched" / "training.csv").read_text().splitlines()) > len(
        (tmp_path / "plain" / "training.csv").read_text().splitlines()
    )


class Killed(Exception):
    """The machine went away."""


@pytest.mark.parametrize("at", [1, 4, 7, 11])
def test_a_run_killed_at_any_step_goes_on_to_the_same_bits(at: int, tmp_path: Path) -> None:
    plain = wide(8.0)
    train(plain, pictures(), pictures(), tmp_path / "plain", half=False)
    killed, path = wide(8.0), tmp_path / "killed" / "checkpoint.safetensors"

    def die(run: Run, loss: float) -> None:
        if run.step == at:
            run.save(path)
        if run.step == at + 1:
            raise Killed

    if at + 1 <= CONFIG.steps:
        with pytest.raises(Killed):
            train(killed, pictures(), pictures(), tmp_path / "killed", half=False, on_step=die)
    resumed = wide(8.0)
    resumed.load(path)
    train(resumed, pictures(), pictures(), tmp_path / "killed", half=False)
    one, two = state(plain), state(resumed)
    assert set(one) == set(two) and all(torch.equal(one[name], two[name]) for name in one)


def wide(rate: float) -> Run:
    """A network with kernels that learn by Muon where ``rate`` is positive."""
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, kernel_rate=rate)
    return Run(build("euler", {"blocks": 2, "channels": 16, "hidden": 16}), config)
