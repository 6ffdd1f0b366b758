"""Shows which pixels and features drive the network, and whether the maps can be trusted.

    python -m analysis.saliency --workdir runs/person_car --split val

Every image gets plain gradients and layer-wise maps for each class, for the loss and, if
analysis.clusters was run, for its cluster membership (`saliency.scores`). SmoothGrad, integrated
gradients and Grad-CAM are computed for a fixed sample of images with classes and for exemplars of
the clusters. All methods are judged on these by deletion and insertion against random, center and
edge maps; gradients and layer-wise maps also by shuffled weights and, on all images, by instances
of categories.

A foreign model (analysis/README.md) has no gradients: occlusion maps of a sample of images show
what its classes and its loss depend on. By default, the sample has 4 to 48 images, as many as take
half as long as one pass over all images.

Figures are a sheet per class and per cluster, an overview of the clusters and the curves.
"""

import argparse

from analysis.saliency.schema import Saliency
from analysis.stage.command import stage_parser

# Beside the classes as wholes, maps are compared with instances of these categories.
CATEGORIES = ('bicycle', 'motorcycle')


def make_parser() -> argparse.ArgumentParser:
    """The parser of `python -m analysis.saliency`."""
    return stage_parser(
        Saliency, __doc__,
        images=(0, 'sampled for classes; 0: 48, or fewer for a foreign model'),
        exemplars=(6, 'of each cluster'),
        steps=(16, 'of integrated gradients'),
        samples=(8, 'noisy copies of SmoothGrad'),
        categories=(
            '', 'categories whose instances the maps are compared with, separated by commas; '
            f"'' is those of the classes, {' and '.join(CATEGORIES)}",
        ),
    )  # fmt: skip
