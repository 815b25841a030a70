"""Numerical methods on arrays: norms, wavelets, total variation and conjugate gradients."""
