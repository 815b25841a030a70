"""A study of gradients through depth: whether they vanish or explode, and what a Hamiltonian structure guarantees."""
