"""
Denoisers side by side
======================

Four denoisers on the same noisy picture, with what is proven about each.
"""

import matplotlib.pyplot as plt
import numpy as np
import skimage.data

import pnpkit as pk
from pnpkit.images.metrics import psnr

clean = skimage.data.coffee()[100:228, 200:328] / 255
noisy = clean + 0.1 * np.random.default_rng(0).standard_normal(clean.shape)

figure, axes = plt.subplots(1, 5, figsize=(14, 3.3))
axes[0].imshow(noisy.clip(0, 1))
axes[0].set_title(f"noisy, {psnr(noisy, clean):.2f} dB")
for axis, name in zip(axes[1:], ("wavelet", "euler-fast", "euler-guided", "dncnn"), strict=True):
    result = pk.denoise(noisy, 0.1, denoiser=name)
    axis.imshow(result.image.clip(0, 1))
    axis.set_title(f"{name}, {psnr(result.image, clean):.2f} dB")
    print(f"{name}: {result.guarantee}")
for axis in axes:
    axis.axis("off")
figure.tight_layout()
