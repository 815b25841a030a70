"""Estimating a blur that nobody measured."""
