"""Checks of operators, maps and denoisers against what is claimed of them."""
