"""Forward models: deepinv physics, with a proven norm where one is known."""
