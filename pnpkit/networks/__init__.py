"""Architectures. The table of them is ``networks.architectures``."""
