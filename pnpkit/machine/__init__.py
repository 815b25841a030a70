"""The machine: memory, devices, processes, files, probes."""
