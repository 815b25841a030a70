"""``pnpkit train``: a denoiser out of a folder of pictures, with its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pnpkit.command import record
from pnpkit.command.messages import say
from pnpkit.command.options import Grouped, Whole, flag
from pnpkit.errors import UnknownName
from pnpkit.training.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from pnpkit.training.pictures import Split
    from pnpkit.training.run import Run
    from pnpkit.training.session import Plan, Session

GIVEN = ("hours", "steps", "batch", "patch", "learning_rate", "kernel_rate", "level_skew", "seed")  # of the protocol


RECIPES_HELP = "\n".join(f"  {name}: {recipe.about}" for name, recipe in RECIPES.items())


def protocol(name: str, kind: Any, text: str, group: str = "expert") -> Any:
    """The flag of a field of ``TrainingConfig``; without it the recipe's value is taken."""
    return flag(f"--{name.replace('_', '-')}", group=group, type=kind, metavar="NUMBER",
                help=f"{text} Default: the recipe's.")  # fmt: skip


@click.command(
    "train", cls=Grouped, short_help="Train a denoiser on your pictures.",
    example="pnpkit train euler-fast --data photos/ --hours 2 --folder runs/mine",
    help="Train a denoiser on a folder of pictures, nested or not, of any type that pnpkit reads.\n\n"
    "NAME is the recipe of a shipped denoiser:\n\n\b\n" + RECIPES_HELP,
)  # fmt: skip
@click.argument("name")
@flag(
    "--data",
    group="input",
    required=True,
    metavar="FOLDER",
    help="Folder of the pictures; its subfolders are read, too.",
)
@flag("--held-out", group="input", type=Whole(1), metavar="COUNT",
      help="Number of pictures kept from training, for the curve. Default: a tenth, at most 100.")  # fmt: skip
@flag("--start", group="quality", metavar="DENOISER",
      help="Begin from this denoiser, a name or a folder. Default: the recipe's.")  # fmt: skip
@protocol("hours", float, "Training time in hours; the cosine schedule of the step size ends with it.", "quality")
@protocol("steps", Whole(1), "Number of steps, instead of hours.", "quality")
@flag(
    "--folder",
    group="output",
    metavar="FOLDER",
    help="Folder for the checkpoint, the curve and the denoiser. Default: runs/NAME.",
)
@flag("--resume", group="output", is_flag=True, help="Continue from the checkpoint in the folder.")
@flag("--unfinished", group="output", is_flag=True, help="Write the denoiser from the checkpoint as it is, and end.")
@flag("--dry-run", group="output", is_flag=True, help="Print data, time and memory, and end without training.")
@flag("--quiet", group="output", is_flag=True, help="Print nothing but errors.")
@protocol("batch", Whole(1), "Patches in each step.")
@protocol("patch", Whole(16), "Size of a patch in pixels.")
@protocol("learning_rate", float, "Learning rate at its largest.")
@protocol("kernel_rate", float, "How many times faster kernels learn, by Muon.")
@protocol("level_skew", float, "Below 1, strong noise comes more often.")
@protocol("seed", Whole(0), "Seed of patches, noise and the choice of held-out pictures.")
@flag("--device", group="expert", default="auto", show_default=True, help="auto, cpu or cuda.")
@flag("--precision", group="expert", type=click.Choice(("auto", "bfloat16", "float32")),
      help="auto probes whether bfloat16 pays here. Default: the recipe's.")  # fmt: skip
def train(name: str, data: str, folder: str | None, quiet: bool, **given: Any) -> int:
    """Read, tell, train, write."""
    from pnpkit.machine import distributed
    from pnpkit.machine.memory import choose_device
    from pnpkit.training.session import averaged

    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES)
    place = Path(folder or Path("runs") / name)
    plan = plan_for(RECIPES[name], place, given)
    plan.check()
    if given["unfinished"]:
        run, meta = averaged(plan.architecture, place, unfinished=True)
        write(run, meta, plan, Path(data), quiet)
        return 0
    with distributed.together(choose_device(given["device"]).type) as device, seeded(plan.config.seed):
        return begin(name, plan, Path(data), device, quiet, given)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random weights from this seed, and take denormal numbers for zero, for speed; within the block alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_flush_denormal(True)
        try:
            yield
        finally:
            torch.set_flush_denormal(False)


def plan_for(recipe: Recipe, folder: Path, given: dict[str, Any]) -> Plan:
    """The recipe with what the flags say otherwise."""
    from pnpkit.training.session import Plan

    changes = {key: given[key] for key in GIVEN if given[key] is not None}
    if "hours" in changes and "steps" not in changes:
        changes["steps"] = 0  # the clock decides, even where the recipe counts steps
    return Plan(
        recipe.architecture,
        folder,
        replace(recipe.config, **changes),
        recipe.arguments,
        recipe.start if given["start"] is None else given["start"],
        resume=given["resume"] or given["unfinished"],
        precision=given["precision"] or recipe.precision,
    )


def begin(name: str, plan: Plan, data: Path, device: str, quiet: bool, given: dict[str, Any]) -> int:
    """The share of one process: the first tells and writes."""
    from pnpkit.machine import distributed
    from pnpkit.training import pictures
    from pnpkit.training.session import averaged, prepare

    first = distributed.rank() == 0
    quiet = quiet or not first
    stored = plan.folder / pictures.SPLIT
    if plan.resume and stored.exists():
        parts = pictures.Split.load(stored)
        found, left_out = pictures.load(data, (*parts.train, *parts.held_out), plan.config.patch)
    else:
        found, left_out = pictures.load(data, pictures.found_in(data), plan.config.patch)
        pictures.check_enough(found, left_out)
        parts = pictures.split(list(found), plan.config.seed, given["held_out"])
    learnt = [found[name] for name in parts.train if name in found]
    watched = [found[name] for name in parts.held_out if name in found][: pictures.WATCHED]
    session = prepare(plan, device)
    if not quiet:
        tell(name, session, data, parts, left_out, sum(p.nbytes for p in found.values()))
    if given["dry_run"]:
        return 0
    if first and not plan.resume:
        plan.folder.mkdir(parents=True, exist_ok=True)
        parts.save(stored)
    with bar(session, name, quiet) as on_step:
        session.train(learnt, watched, on_step)
    if first:
        write(*averaged(plan.architecture, plan.folder, unfinished=False), plan, data, quiet)
    return 0


def tell(name: str, session: Session, data: Path, parts: Split, left_out: list[str], size: int) -> None:
    """What will be done, how long it takes, and in how much memory."""
    from pnpkit.machine.memory import peak_memory

    config, plan = session.plan.config, session.plan
    weights = sum(p.numel() for p in session.run.network.parameters())
    origin = session.run.start or "random values"
    say(f"{name}: architecture {plan.architecture}, {weights:,} weights to learn, starting from {origin}")
    omitted = f"; {len(left_out)} left out:" if left_out else ""
    say(
        f"data: {data}: {len(parts.train)} pictures to learn from, {len(parts.held_out)} held out by seed "
        f"{parts.seed}, listed in {plan.folder / 'pictures.json'}{omitted}"
    )
    for reason in left_out[:5]:
        say(f"  {reason}")
    length = f"{config.steps} steps" if config.steps else f"{config.hours:g} hours by the clock"
    rate = f"; the convolutions alone allow {session.limit:.0f} patches a second here" if session.limit else ""
    say(f"time: {length}, batches of {config.batch} patches of {config.patch} x {config.patch}{rate}")
    peak = peak_memory()
    held = f", {peak / 2**30:.1f} GiB in all so far" if peak else ""
    kind = "bfloat16" if session.half else "float32"
    say(f"memory: {size / 2**30:.2f} GiB of pictures{held}; {session.device}, {kind}")
    say(f"a checkpoint every {config.checkpoint_minutes:g} minutes in {plan.folder}: `resume` continues from it")


@contextmanager
def bar(session: Session, name: str, quiet: bool) -> Iterator[Any]:
    """A progress bar; gives what is to be called after every step."""
    from tqdm import tqdm

    run, config = session.run, session.plan.config
    begun, before = run.step, run.seconds
    with tqdm(desc=name, initial=run.step, unit="step", mininterval=10, disable=quiet or None) as shown:

        def on_step(run: Run, loss: float) -> None:
            rate = f"{config.batch * (run.step - begun) / max(run.seconds - before, 1e-9):.1f}"
            shown.set_postfix(loss=f"{loss:.5f}", done=f"{100 * run.progress:.1f}%", patches_s=rate, refresh=False)
            shown.update()

        yield on_step


def write(run: Run, meta: dict[str, Any], plan: Plan, data: Path, quiet: bool) -> None:
    """Write the denoiser's folder, and say what to do with it."""
    from pnpkit.training import export

    place = plan.folder / "denoiser"
    device = next(run.network.parameters()).device.type
    training = export.history(run, meta, f"{data}, Gaussian noise", record.command_line(), device)
    card = export.write(
        run.network, plan.folder.name, plan.architecture, training, f"yours; trained on the pictures of {data}", place,
        plan.folder / export.CURVE,
    )  # fmt: skip
    if quiet:
        return
    share = f" ({run.progress:.0%} of its schedule)" if run.progress < 1 else ""
    say(f"written: {place}: weights, card, curve; {run.step} steps{share}")
    say(card.certificate.describe(0))
    say(f"next: pnpkit denoise PICTURE --denoiser {place}\n"
        f"      pnpkit certify {place}    # derive the certificate again\n"
        f"      pnpkit audit {place}      # search for what contradicts it\n"
        f"      the curve, on held-out pictures: {place / export.CURVE}")  # fmt: skip
