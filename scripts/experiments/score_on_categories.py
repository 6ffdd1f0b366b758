"""Scores embeddings and clusters by categories that the network was never taught.

    python scripts/experiments/score_on_categories.py --workdir runs/person_car --split val

Similar images should show the same things, also those that no class of the run contains. The images
are those of the split in which all categories are annotated; the categories are those outside the
label space that at least 15 of these images show. The command prints, for each category, how much
more often than by chance the 10 nearest neighbors of an image with it have it too (lift), how well
clusters agree with the images' main categories, and whether images without color are neighbors.

The baselines are the last activations of the ImageNet encoder that the run started from
(--pretrained names its file, if the run's config does not), averaged over the pixels and compared
by cosine; an untrained network; and color histograms. Each is cut into as many clusters by k-means.

Writes report.md, report.json and report.png into the folder categories of the analysis. The
baselines are kept, so the same command continues.
"""

import argparse
import dataclasses
import functools
import pathlib
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from analysis.clusters.schema import Clusters
from analysis.embeddings.schema import Embeddings
from analysis.experiments.records import Origin
from analysis.samples.schema import Samples
from analysis.stage import artifacts, storage
from analysis.stage.artifacts import Result
from analysis.stage.command import add_force, make_parser, run_command
from analysis.stage.run import Analysis, open_chosen
from segmentation import launch
from segmentation.files import sha256, write_json, write_text

if TYPE_CHECKING:
    import jax

    from segmentation.models import pretrained


@dataclasses.dataclass(frozen=True)
class Baselines(Result):
    """Embeddings that do not depend on the training."""

    NAME: ClassVar[str] = 'category_baselines'
    VERSION: ClassVar[int] = 1

    weights: dict[str, str]  # SHA-256 of the ImageNet weights by the name of their file
    points: dict[str, np.ndarray]  # float32 `[N, D]` by name


def imagenet_points(analysis: Analysis, weights: 'pretrained.Weights') -> np.ndarray:
    """The last activations of an ImageNet encoder, averaged over the pixels.

    Args:
      analysis: of which images.
      weights: of an encoder of the width of the run's.

    Returns:
      float32 `[N, 1280]` of unit length.
    """
    from analysis.experiments.categories import IMAGENET
    from analysis.stage.forward import forward
    from segmentation import evaluate  # here and below: it imports JAX
    from segmentation.models import mobilenet_v2
    from segmentation.models.unet import scale_images

    encoder = mobilenet_v2.MobileNetV2(analysis.config.model.width, taps=('out_relu',))
    variables: dict[str, Any] = {'params': {}, 'batch_stats': {}}
    for layer, arrays in weights.items():
        for name, array in arrays.items():
            kind = 'batch_stats' if name in ('mean', 'var') else 'params'
            variables[kind].setdefault(layer, {})[name] = array

    def extract(variables: Any, images: 'jax.Array') -> 'jax.Array':
        found = encoder.apply(variables, scale_images(images, 'imagenet'), train=False)
        return found['out_relu'].mean((1, 2))

    other = dataclasses.replace(analysis.run, read=lambda: variables)
    batches = forward(
        dataclasses.replace(analysis, run=other), IMAGENET, evaluate.on_local_devices(extract)
    )
    points = np.concatenate([np.asarray(found)[: len(rows)] for rows, _, found in batches])
    return points / np.linalg.norm(points, axis=1, keepdims=True).clip(1e-12)


def compute_baselines(analysis: Analysis, source: str, force: bool) -> Baselines:
    """The baselines, read if they are up to date.

    Args:
      analysis: of which images.
      source: see `pretrained.load_weights`.
      force: compute them again.

    Raises:
      ValueError, FileNotFoundError, ConnectionError: the ImageNet weights cannot be read.
    """
    from analysis.experiments.categories import IMAGENET
    from analysis.planted_benchmark import scoring
    from segmentation.models import pretrained

    model = analysis.config.model
    if not source:
        raise ValueError(
            f'{analysis.workdir} started from random weights: name the ImageNet encoder to compare '
            "with by --pretrained, as a file or 'imagenet'."
        )
    file = pretrained.weight_file(source, model.width, model.pretrained_resolution)
    weights = {file.name: sha256(file)}
    dimensions = artifacts.load(analysis, Embeddings).dimensions
    settings = {'weights': weights, 'dimensions': dimensions}
    if not force and artifacts.is_current(analysis, Baselines, (), settings):
        return artifacts.load(analysis, Baselines)
    loaded = pretrained.load_weights(source, model.width, model.pretrained_resolution)
    points = {IMAGENET: imagenet_points(analysis, loaded)}
    points |= scoring.baselines(analysis, dimensions)
    result = Baselines(weights, points)
    artifacts.save(analysis, result, (), settings)
    return result


def cut(points: np.ndarray, number: int) -> np.ndarray:
    """Clusters of k-means, int `[N]`."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # so that the result does not depend on the number of processors
        return KMeans(number, n_init=10, random_state=0).fit_predict(points)


def areas(analysis: Analysis, rows: np.ndarray, names: list[str]) -> np.ndarray:
    """Area of the instances of each category in images, in pixels, float64 `[n, C]`."""
    result = np.zeros((len(rows), len(names)))
    for place, row in enumerate(rows.tolist()):
        split = analysis.examples.splits[analysis.examples.split_of[row]]
        columns = {c.id: names.index(c.name) for c in split.categories if c.name in names}
        found = analysis.examples.record(row)['instances']
        for kind, area, crowd in zip(
            found['category_id'].tolist(), found['area'].tolist(), found['is_crowd'], strict=True
        ):
            if kind in columns and not crowd:
                result[place, columns[kind]] += area
    return result


def _run(argv: list[str] | None, arguments: argparse.Namespace) -> dict[str, Any]:
    from analysis.clusters import stage as clusters
    from analysis.experiments import categories
    from analysis.experiments.categories import OURS

    analysis = open_chosen(arguments)
    if analysis.foreign:
        raise ValueError(f'{analysis.workdir} was not trained here: it has no untrained network.')
    clusters.STAGE.prepare(analysis)
    table = artifacts.load(analysis, Samples).table
    split = analysis.examples.splits[0]
    taught = [c.name for c in split.categories if c.id in analysis.examples.category_to_class]
    rows, names, has = categories.known_contents(table, taught)
    source = arguments.pretrained or analysis.config.model.pretrained
    found = compute_baselines(analysis, source, arguments.force)
    spaces = {OURS: artifacts.load(analysis, Embeddings).points, **found.points}
    label = artifacts.load(analysis, Clusters).label
    number = len(np.unique(label))
    result = categories.score(
        spaces,
        {name: label if name == OURS else cut(points, number) for name, points in spaces.items()},
        rows,
        dict(zip(names, has.T, strict=True)),
        categories.main_categories(areas(analysis, rows, names)),
        categories.color_groups(table),
    )
    command = launch.command_line('scripts/experiments/score_on_categories.py', argv)
    origin = Origin.of_runs([analysis.workdir], command, [analysis.config.seed])
    origin = dataclasses.replace(origin, weights=origin.weights | found.weights)
    report = {'origin': storage.to_json(origin), **storage.to_json(result)}
    folder = analysis.folder / 'categories'
    folder.mkdir(exist_ok=True)
    text = categories.to_markdown(result, origin)
    write_text(folder / 'report.md', text)
    write_json(folder / 'report.json', report)
    categories.figure(result, folder / 'report.png')
    print(text)
    return report


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = make_parser('', __doc__)
    parser.prog = pathlib.Path(__file__).name
    text = "ImageNet weights to compare with, a file or 'imagenet'; default: those of the run"
    parser.add_argument('--pretrained', default='', metavar='FILE', help=text)
    add_force(parser)
    return run_command(parser.parse_args(argv), functools.partial(_run, argv))


if __name__ == '__main__':
    sys.exit(main())
