"""What a restoring command asks for, the same for each of its files."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from pnpkit.command import record
from pnpkit.command.options import Options
from pnpkit.command.tasks import Task
from pnpkit.restoration.settings import Settings

if TYPE_CHECKING:
    from pnpkit.networks.base import Network


@dataclass(frozen=True)
class Layout:
    """What is said of a stack beside what its file tells.

    Attributes:
        axes: their names, "" as the file says. page: number of the only plane to restore, from 1.
        step, kernel_step: µm between samples (z, y, x) of the stack and of the point-spread functions.
        directions: of the denoiser in volumes.
    """

    axes: str = ""
    page: int | None = None
    step: tuple[float, ...] = ()
    kernel_step: tuple[float, ...] = ()
    directions: str = "auto"


@dataclass(frozen=True)
class Job:
    """What a command asks for, the same for each of its files.

    Attributes:
        task: the command. settings: of its function. options: what is read and written around it.
        guarded: the ``file_key`` of all that is read, and so is never written.
        shared: the denoiser over several processes, in place of the one that the settings name.
        layout: of stacks, what is said beside their files.
    """

    task: Task
    settings: Settings
    options: Options = Options()
    guarded: frozenset[object] = frozenset()
    shared: Network | None = None
    layout: Layout = Layout()

    @property
    def word(self) -> str:
        """What is added to the name of an input for that of its result."""
        if self.options.preview:
            return "preview"
        return self.task.word + ("-region" if self.options.region else "")

    def reads(self) -> tuple[str, ...]:
        """The files that are read beside the inputs."""
        return record.existing((*self.task.reads, self.options.reference))

    def facts(self) -> dict[str, Any]:
        """All that was asked for, by name, for the page of --report."""
        found: dict[str, Any] = {}
        for part in (self.task, self.settings, self.options):
            found |= {entry.name: getattr(part, entry.name) for entry in fields(part)}  # type: ignore[arg-type]
        return {
            name: value
            for name, value in found.items()
            if name not in ("callback", "progress", "limits", "compression")
        }
