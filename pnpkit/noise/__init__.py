"""The noise of instruments: models of its variance, their estimation, weights of readings, and saturated readings."""
