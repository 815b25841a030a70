"""Forward models as deepinv physics, with a proof of their norm where one is known."""
