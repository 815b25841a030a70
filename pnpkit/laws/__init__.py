"""Checks of operators, maps and denoisers against the claims about them."""
