"""Averagedness of a composition of equal parts, by pnpkit's own rule."""

import matplotlib.pyplot as plt

from pnpkit.certificates import Certificate, Side, compose

figure, axis = plt.subplots(figsize=(7, 3.2))
layers = range(1, 21)
for alpha, style in ((0.5, ":"), (0.9, "--"), (0.98, "-")):
    part = Certificate("layer", 1.0, alpha, Side.PROVEN, "given")
    found = [part.averagedness if n == 1 else compose((part,) * n, "network").averagedness for n in layers]
    axis.plot(layers, found, style, color="C0", label=f"each layer {alpha}")
axis.axhline(1, color="C3", lw=0.8)
axis.set(xlabel="layers", ylabel="averagedness of all", ylim=(0.45, 1.02))
axis.grid(alpha=0.3)
axis.legend()
figure.tight_layout()
