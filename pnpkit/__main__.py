"""``python -m pnpkit``: the command line, for ``torchrun -m pnpkit``."""

from pnpkit.cli import main

if __name__ == "__main__":
    main()
