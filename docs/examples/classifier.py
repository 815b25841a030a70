"""
A certified radius for a classification
=======================================

The gradient-flow steps of the denoisers also classify: a network that is 1-Lipschitz gives each image a radius within
which its prediction cannot change.
"""

import matplotlib.pyplot as plt
import sklearn.datasets
import torch

from pnpkit import robust

digits = torch.from_numpy(sklearn.datasets.load_digits().images[:10] / 16).float()[:, None]
images = torch.nn.functional.interpolate(digits, (20, 20), mode="bilinear")
images = torch.nn.functional.pad(images, (4, 4, 4, 4))  # as in MNIST: 20 x 20 within 28 x 28
labels = torch.arange(10)

network = robust.load_classifier("mnist-certified")
found = robust.certify_samples(network, images, labels)

figure, axes = plt.subplots(2, 5, figsize=(9, 4))
for axis, image, guess, radius in zip(axes.flat, images, found.predictions, found.radius, strict=True):
    axis.imshow(image[0].numpy(), cmap="gray")
    axis.set_title(f"{int(guess)}, radius {float(radius):.2f}", fontsize=9)
    axis.axis("off")
figure.tight_layout()

# %%
# The network was trained on MNIST; these are digits of another collection. The derivation, from its weights:

print(network.certify())
