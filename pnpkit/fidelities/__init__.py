"""Data fidelities f(x): what the readings say of the picture, each convex, with its constants and its proximal map."""
