"""
Iterations compared
===================

One map, four ways to run it. All end at a fixed point of the same map; Anderson's method keeps the theorem
and takes the fewest steps.
"""

import matplotlib.pyplot as plt
import skimage.data
import torch

import pnpkit as pk
from pnpkit import kernels
from pnpkit.images import pixels

x = pixels.to_tensor(skimage.data.coffee()[120:184, 220:284] / 255).float()
A = pk.blur(kernels.gaussian(1.2), "circular", (64, 64))
y = A.A(x) + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
f = pk.LeastSquares(A, y)
T = pk.half_quadratic(f, pk.load_denoiser("euler-fast").at(0.03), tau=4.0, limits=(0, 1))

figure, axis = plt.subplots(figsize=(7, 3.5))
for iteration in (pk.Picard(), pk.KrasnoselskiiMann(0.7), pk.Halpern(), pk.Anderson()):
    run = pk.solve(T, y, iteration=iteration, tol=1e-5, max_steps=80)
    axis.semilogy(run.residuals, label=f"{type(iteration).__name__}, {run.steps} steps")
    print(f"{type(iteration).__name__}: {run.guarantee}")
axis.set(xlabel="evaluations of T", ylabel="||x - T x|| / ||x||")
axis.grid(alpha=0.3)
axis.legend()
figure.tight_layout()
