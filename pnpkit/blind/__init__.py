"""Estimation of a blur kernel from one picture."""
