"""
Sparse recovery: ISTA, FISTA, Anderson
======================================

Proximal maps in place of denoisers: the convex case, with an objective function and its minimum.
"""

import matplotlib.pyplot as plt
import numpy as np

import pnpkit as pk

random = np.random.default_rng(0)
matrix = random.standard_normal((40, 100))
truth = np.zeros(100)
truth[random.choice(100, 5, replace=False)] = random.standard_normal(5) * 3
data = matrix @ truth + 0.05 * random.standard_normal(40)

runs = {
    "ISTA": pk.ista(matrix, data, 0.5, tol=1e-8, max_steps=2000),
    "FISTA": pk.fista(matrix, data, 0.5, tol=1e-8, max_steps=2000),
    "Anderson": pk.ista(matrix, data, 0.5, tol=1e-8, max_steps=2000, iteration=pk.Anderson()),
}
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4))
for name, run in runs.items():
    axes[0].semilogy(run.residuals, label=f"{name}, {run.steps} steps")
    print(f"{name}: objective {run.objective[0]:.10f}; {run.guarantee}")
axes[0].set(xlabel="step", ylabel="residual")
axes[0].legend()
axes[1].stem(truth, linefmt="C1-", markerfmt="C1o", basefmt=" ", label="truth")
axes[1].plot(runs["FISTA"].x, "k.", label="found")
axes[1].legend()
figure.tight_layout()
