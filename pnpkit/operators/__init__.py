"""Forward models as deepinv physics, with a proof of their norm where there is one."""
