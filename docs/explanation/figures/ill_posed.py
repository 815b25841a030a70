"""Gains of a Gaussian blur over frequency, and the noise after division by them."""

import matplotlib.pyplot as plt
import numpy as np

frequency = np.linspace(0, 0.5, 200)
figure, axes = plt.subplots(1, 2, figsize=(8, 3))
for sigma, style in ((0.7, ":"), (1.2, "--"), (2.0, "-")):
    gain = np.exp(-2 * (np.pi * sigma * frequency) ** 2)
    axes[0].plot(frequency, gain, style, color="C0", label=f"Gaussian {sigma}")
    axes[1].semilogy(frequency, 0.01 / gain, style, color="C3", label=f"Gaussian {sigma}")
axes[0].set(xlabel="cycles per pixel", title="what the blur leaves")
axes[1].set(xlabel="cycles per pixel", title="noise of 0.01 after division", ylim=(5e-3, 1e3))
for axis in axes:
    axis.grid(alpha=0.3)
    axis.legend()
figure.tight_layout()
