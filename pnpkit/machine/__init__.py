"""The machine: memory, devices, processes, files and speed probes."""
