"""Reading and writing of picture files, pixels in memory, noise estimation and quality metrics."""
