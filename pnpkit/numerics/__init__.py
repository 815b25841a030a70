"""Numerical methods on arrays: norms, wavelets, total variation, conjugate gradients."""
