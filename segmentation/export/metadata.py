"""What a file of an exported network says about itself."""

import json

import numpy as np

from segmentation import overlays
from segmentation.trained import Run


def describe(run: Run, logits: bool) -> dict[str, str]:
    """Metadata of an exported network, as text by name.

    `class_names` and `class_colors` (RGB, 0 … 255) are JSON lists in the order of the classes.
    """
    data = run.config.data
    scaling = 'x / 127.5 - 1' if data.input_range == 'imagenet' else 'x / 255'
    colors = overlays.colorize(np.arange(len(run.class_names))).tolist()
    return {
        'class_names': json.dumps(list(run.class_names)),
        'class_colors': json.dumps(colors),
        'input': 'image: uint8 [batch, height, width, 3], RGB, upright, any size',
        'output': (
            'logits: float32 [batch, size, size, classes] at the resolution of the network'
            if logits
            else 'classes: uint8 [batch, height, width], argmax of bilinearly enlarged logits'
        ),
        'resize': f'to {data.image_size}x{data.image_size}, bilinear, half-pixel centers, '
        + ('antialiased' if data.antialias else 'four nearest pixels'),
        'normalization': scaling + ', inside the file',
        'step': str(run.step),
    }
