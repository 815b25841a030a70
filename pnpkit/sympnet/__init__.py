"""Symplectic networks (Jin et al., Neural Networks 132, 2020): learned flow maps that are exactly symplectic."""
