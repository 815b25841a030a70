"""
Deblur a photograph, with its proof
===================================

Blur a crop of a photograph with a motion of 9 pixels, add noise, and restore it. The result holds the picture, the
guarantee and the certificate.
"""

import matplotlib.pyplot as plt
import skimage.data

import pnpkit as pk
from pnpkit import kernels
from pnpkit.images.metrics import psnr

sharp = skimage.data.chelsea()[60:188, 90:218] / 255
kernel = kernels.motion(9, 30)
blurred = pk.simulate(sharp, kernel, noise_level=0.01, boundary="circular")
result = pk.deblur(blurred, kernel, boundary="circular", denoiser="euler-fast")

figure, axes = plt.subplots(1, 3, figsize=(9, 3.4))
for axis, (title, picture) in zip(
    axes, {"sharp": sharp, "blurred": blurred, "restored": result.image}.items(), strict=True
):
    axis.imshow(picture.clip(0, 1))
    axis.set_title(f"{title}, {psnr(picture, sharp):.2f} dB" if picture is not sharp else title)
    axis.axis("off")
figure.tight_layout()

# %%
# What is guaranteed of this run, and the derivation:

print(result.guarantee)
print(result.certificate)
