"""Foreign models: how `scripts/analyze.py --onnx` and `--predictions` read the data.

All images are used, including those without an object. Crowd regions are ignored, as in most
published scores.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.require = 'nothing'
    config.data.crowd = 'ignore'
    config.data.max_val = 0
    # Side of the label maps, heat-maps and pictures of the analysis. A model with a fixed input
    # size is fed at that size, whatever this is.
    config.data.image_size = 256
    config.data.selection_fraction = 0.0
    return config
