"""Gradients through depth: do they vanish, do they explode, and what a Hamiltonian structure promises."""
