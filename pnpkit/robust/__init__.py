"""Classifiers that are proven 1-Lipschitz, their certified radii, and the attack that tries to break them."""
