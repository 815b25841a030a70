"""The parts of ``scripts/fuzz.py``: a function per kind of input, the worker that tries them, the doors to pnpkit."""
