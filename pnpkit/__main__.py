"""``python -m pnpkit``: the command line, for ``torchrun -m pnpkit``."""

from __future__ import annotations

from pnpkit.command.cli import main

if __name__ == "__main__":
    main()
