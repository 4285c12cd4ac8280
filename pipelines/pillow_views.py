"""The official views of DINO, picture by picture with Pillow: what `bench views` compares ours with.

Written from what facebookresearch/dino (main_dino.py, DataAugmentationDINO, Apache-2.0) asks torchvision
for: crop and bicubic resize, flip, jitter in random order, grey, blur, solarise, tensor, normalise.
"""

import math
from random import Random

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from dinonat.models.network import IMAGENET_MEAN, IMAGENET_STD
from dinonat.pretraining.views import CROP_RATIO, ViewPlan

TRIES = 10  # of a crop that fits, as torchvision's RandomResizedCrop
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.2, 0.1
RADIUS = (0.1, 2.0)  # of the blur, pixels, at every size


def pillow_view(picture: Image.Image, plan: ViewPlan, chance: Random) -> Tensor:
    """Return one view (3, size, size) float32 of an RGB picture, normalised as the network expects it."""
    box = _crop(picture.size, plan.scale, chance)
    view = picture.crop(box).resize((plan.size, plan.size), Image.Resampling.BICUBIC)
    if chance.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if chance.random() < plan.jitter:
        view = _jittered(view, chance)
    if chance.random() < plan.grey:
        view = view.convert("L").convert("RGB")
    if chance.random() < plan.blur:
        view = view.filter(ImageFilter.GaussianBlur(chance.uniform(*RADIUS)))
    if chance.random() < plan.solarise:
        view = ImageOps.solarize(view)
    mean, std = (torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = torch.from_numpy(np.array(view)).permute(2, 0, 1).contiguous()
    return pixels.float().div_(255).sub_(mean).div_(std)


def _crop(size: tuple[int, int], scale: tuple[float, float], chance: Random) -> tuple[int, int, int, int]:
    """Draw (left, top, right, bottom): area uniform, shape log-uniform; the middle where none fits."""
    width, height = size
    low, high = (math.log(ratio) for ratio in CROP_RATIO)
    for _ in range(TRIES):
        area = width * height * chance.uniform(*scale)
        ratio = math.exp(chance.uniform(low, high))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = chance.randint(0, width - w), chance.randint(0, height - h)
            return left, top, left + w, top + h
    w = min(width, round(height * CROP_RATIO[1]))
    h = min(height, round(width / CROP_RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _jittered(view: Image.Image, chance: Random) -> Image.Image:
    """Change brightness, contrast, saturation and hue, in random order."""
    for step in chance.sample(range(4), 4):
        if step == 3:
            view = turned(view, chance.uniform(-HUE, HUE))
            continue
        enhancer = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[step]
        strength = (BRIGHTNESS, CONTRAST, SATURATION)[step]
        view = enhancer(view).enhance(chance.uniform(1 - strength, 1 + strength))
    return view


def turned(view: Image.Image, turn: float) -> Image.Image:
    """Turn the hue in HSV by ``turn`` of a full circle."""
    hue, saturation, value = view.convert("HSV").split()
    shifted = np.array(hue) + np.uint8(round(turn * 255) % 256)  # uint8 wraps around, as the circle does
    return Image.merge("HSV", (Image.fromarray(shifted), saturation, value)).convert("RGB")
