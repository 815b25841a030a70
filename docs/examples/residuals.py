"""
Residuals that can only fall
============================

Plain steps with a proven network, and with DnCNN, about which nothing is known. For the first, ||x - T x|| cannot rise.
"""

import matplotlib.pyplot as plt
import skimage.data

import pnpkit as pk
from pnpkit import kernels

sharp = skimage.data.chelsea()[80:144, 110:174] / 255
kernel = kernels.box(5)
blurred = pk.simulate(sharp, kernel, 0.01, boundary="circular")

figure, axis = plt.subplots(figsize=(7, 3.5))
for name, style in (("euler-fast", "-"), ("dncnn", "--")):
    run = pk.deblur(
        blurred,
        kernel,
        boundary="circular",
        denoiser=name,
        splitting="forward-backward",
        method="picard",
        tol=0,
        max_steps=100,
    )
    rises = sum(b > a for a, b in zip(run.residuals, run.residuals[1:], strict=False))
    axis.semilogy(run.residuals, style, label=f"{name}: {rises} rises")
axis.set(xlabel="step", ylabel="||x - T x|| / ||x||")
axis.grid(alpha=0.3)
axis.legend()
figure.tight_layout()
