"""
Fill in scratches
=================

What is marked is filled in; the rest stays exactly as it is.
"""

import matplotlib.pyplot as plt
import numpy as np
import skimage.data

import pnpkit as pk

picture = skimage.data.astronaut()[30:158, 160:288] / 255
holes = np.zeros(picture.shape[:2], bool)
for start in range(5, 120, 23):
    holes[np.arange(128), (start + np.arange(128) // 3) % 128] = True
    holes[np.arange(128), (start + 1 + np.arange(128) // 3) % 128] = True
scratched = np.where(holes[..., None], 0.0, picture)
result = pk.inpaint(scratched, holes)

figure, axes = plt.subplots(1, 3, figsize=(9, 3.4))
for axis, (title, shown) in zip(
    axes, {"scratched": scratched, "filled in": result.image, "truth": picture}.items(), strict=True
):
    axis.imshow(shown.clip(0, 1))
    axis.set_title(title)
    axis.axis("off")
figure.tight_layout()

# %%

print(result.status.value)
print(result.guarantee)
