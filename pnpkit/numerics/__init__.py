"""Numerical methods that know nothing of pictures or networks."""
