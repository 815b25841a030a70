"""Picture files, pixels, noise and metrics."""
