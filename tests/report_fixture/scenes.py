"""Scenes of ten kinds, whose metadata, scores, places on the map and label errors go together."""

import numpy as np
from PIL import Image, ImageDraw

CATEGORIES = (
    'person', 'bicycle', 'car', 'motorcycle', 'bus', 'train', 'truck', 'boat', 'bench', 'bird',
    'cat', 'dog', 'horse', 'sheep', 'cow', 'umbrella', 'skis', 'sports ball', 'kite', 'skateboard',
    'surfboard', 'tennis racket', 'bottle', 'wine glass', 'cup', 'fork', 'bowl', 'pizza', 'cake',
    'chair', 'couch', 'bed', 'dining table', 'tv', 'laptop', 'book', 'clock', 'teddy bear',
)  # fmt: skip
# Kind of scene: categories that are usual, ground color, brightness, mean number of persons, cars.
SCENES = {
    'street': (('car', 'truck', 'bus'), (105, 105, 110), 110, 2.0, 3.0),
    'night': (('car', 'bus'), (25, 28, 45), 35, 1.0, 2.0),
    'beach': (('surfboard', 'umbrella', 'kite'), (225, 205, 160), 175, 2.5, 0.05),
    'snow': (('skis',), (235, 240, 245), 205, 1.6, 0.02),
    'court': (('tennis racket', 'sports ball'), (60, 130, 80), 120, 1.8, 0.02),
    'kitchen': (('bowl', 'cup', 'bottle', 'fork'), (190, 160, 125), 125, 0.9, 0.0),
    'dinner': (('pizza', 'wine glass', 'dining table', 'chair'), (120, 75, 50), 95, 3.0, 0.0),
    'living room': (('couch', 'tv', 'cat', 'book'), (165, 150, 140), 115, 0.8, 0.0),
    'pasture': (('sheep', 'cow', 'horse'), (110, 150, 70), 130, 0.4, 0.1),
    'park': (('bench', 'dog', 'bicycle', 'skateboard'), (90, 140, 75), 120, 1.7, 0.3),
}
# Shown as text, whatever is in them.
HOSTILE = (
    '<img src=x onerror="document.title=1">.jpg', '"quotes\' and `ticks`.jpg', '</script><b>.jpg',
    '\u202egnp.exe', '$math$ **bold** |pipe|.jpg', 'line\u2028separator.jpg', 'x' * 10_000,
)  # fmt: skip
IMAGE_SIZE = 64


def draw(kind: int, rng: np.random.Generator) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """Picture, label and prediction of a scene."""
    _, ground, bright, persons, cars = list(SCENES.values())[kind]
    size = IMAGE_SIZE
    picture, label = Image.new('RGB', (size, size), ground), Image.new('L', (size, size), 0)
    sky = tuple(int(min(255, 60 + bright * share)) for share in (0.7, 0.8, 1.0))
    pen, marks = ImageDraw.Draw(picture), ImageDraw.Draw(label)
    pen.rectangle((0, 0, size, size // 3), fill=sky)
    for value, rate in ((2, cars), (1, persons)):
        for _ in range(min(5, rng.poisson(rate))):
            x, y = rng.integers(2, size - 14), rng.integers(size // 3, size - 20)
            color = tuple(rng.integers(20, 235, 3).tolist())
            if value == 2:
                for each, fill in ((pen, color), (marks, value)):
                    each.rounded_rectangle((x, y, x + 16, y + 8), 3, fill=fill)
                pen.ellipse((x + 1, y + 6, x + 5, y + 10), fill=(20, 20, 20))
                pen.ellipse((x + 11, y + 6, x + 15, y + 10), fill=(20, 20, 20))
            else:
                for each, fill in ((pen, color), (marks, value)):
                    each.rectangle((x, y, x + 5, y + 14), fill=fill)
                for each, fill in ((pen, (224, 172, 140)), (marks, value)):
                    each.ellipse((x, y - 5, x + 5, y), fill=fill)
    noise = rng.normal(0, 9, (size, size, 3))
    picture = Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))
    label = np.asarray(label)
    predicted = np.roll(label, rng.integers(-3, 4, 2), (0, 1))
    predicted = np.where(rng.random() < 0.15, 3 - predicted, predicted) % 3 * (predicted > 0)
    return picture, label, predicted.astype(np.uint8)
