"""A rotation, iterated, and its mean with the identity."""

import matplotlib.pyplot as plt
import numpy as np

turn = np.array([[0.0, -1.0], [1.0, 0.0]])
cases = {
    "a rotation: nonexpansive": turn,
    "0.5-averaged": 0.5 * np.eye(2) + 0.5 * turn,
    "0.9-averaged": 0.1 * np.eye(2) + 0.9 * turn,
}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharex=True, sharey=True)
for axis, (name, map) in zip(axes, cases.items(), strict=True):
    points = [np.array([1.0, 0.2])]
    for _ in range(40):
        points.append(map @ points[-1])
    axis.plot(*np.transpose(points), "-o", ms=3, lw=0.8, color="C0" if "averaged" in name else "C3")
    axis.plot(0, 0, "k+", ms=10)
    axis.set(title=name, aspect="equal")
    axis.grid(alpha=0.3)
figure.tight_layout()
