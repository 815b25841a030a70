"""
Estimate an unknown blur
========================

The kernel is estimated from the picture, with a confidence. The certificate is then about the
estimated kernel, not about the true one.
"""

import matplotlib.pyplot as plt
import skimage.data

import pnpkit as pk
from pnpkit import kernels

sharp = skimage.data.astronaut()[0:128, 150:278] / 255
blurred = pk.simulate(sharp, kernels.motion(11, 40), 0.005)
estimate = pk.estimate_kernel(blurred)
print(f"found {estimate.spec} with confidence {estimate.confidence:.2f}; true: motion:11,40")

figure, axes = plt.subplots(1, 3, figsize=(9, 3.4))
axes[0].imshow(blurred.clip(0, 1))
axes[0].set_title("blurred")
axes[1].imshow(kernels.motion(11, 40), cmap="gray")
axes[1].set_title("true kernel")
axes[2].imshow(estimate.kernel, cmap="gray")
axes[2].set_title(f"estimated: {estimate.spec}")
for axis in axes:
    axis.axis("off")
figure.tight_layout()
