"""Embeds images by how the network's features respond to them.

    python -m analysis.embeddings --workdir runs/person_car --split val

The responses of every channel of the chosen layers of encoder and decoder are averaged over the
image's pixels; each of these features is standardised over the images, and principal components are
kept. A component is divided by the square root of its standard deviation (half-way to whitening, as
the first few say little but how much texture and light there is) and the result has unit length, so
that squared Euclidean distances are 2 - 2 · cosine.

How this was chosen, on 600 planted scenes (seed 0): with the ImageNet encoder, k-means with 6
clusters agrees with the six scene types, which no label names, with an adjusted mutual information
of 0.69 (0.39 without weights and unit length, 0.51 and 0.52 with one of the two; colour histograms
0.10, an untrained encoder 0.15), and 0.82 of the 10 nearest neighbours are of the same type. Only
the deep layers instead of all: 0.68. Maximum or standard deviation beside the mean, equal weight
for each layer, logarithms, ranks or profiles of the responses: no better, or worse. Whitening fully
is as good with 16 components and loses with more. A small network that was trained on 1,094
scenes from random initialisation knows no more of these types than an untrained one (0.15).

Writes into the run's `analysis/<split>-<step>/`:

embeddings.npy       float32 [N, D], one row per image, components by falling variance
embeddings.npz       (kind 'embeddings', version 1) the fitted reduction, for new images:
    layers           [L] names, in order of computation, such as 'encoder/Conv1_relu'
    channels         int64 [L], of each layer; F in total
    mean, scale      float32 [F], standardised feature = (feature - mean) · scale; where a feature
                     is the same for all images the scale is 0
    components       float32 [F, D], orthonormal
    weights          float32 [D]; embedding = unit length of standardised @ components · weights
    explained        float64 [D], share of the variance of the standardised features
    crc32            int64, of embeddings.npy's numbers
"""

import argparse
import dataclasses
import fnmatch
import pathlib
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from tqdm import tqdm

from analysis.stage import old_artifacts as artifacts
from analysis.stage.command import make_parser, run_command
from analysis.stage.run import Analysis, Run
from segmentation import evaluate, markdown
from segmentation.data import input_pipeline
from segmentation.models.unet import scale_images

VERSION = 1
# What each BatchNorm normalises is left out: standardised, its average would be the same feature.
LAYERS = (
    'encoder/*_relu',
    'encoder/*_project_BN',
    'encoder/block_16_project',
    'decoder/*_relu',
    'decoder/logits',
)
DIMENSIONS = 24
_BLOCK = 256  # rows of the features that are in memory at once
_MORE, _PASSES = 16, 6  # directions beyond D, and passes, of the subspace iteration


@dataclasses.dataclass(frozen=True)
class Reduction:
    """From an image's responses to its embedding; see the module's docstring for the arrays."""

    layers: tuple[str, ...]
    channels: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    weights: np.ndarray
    explained: np.ndarray

    def project(self, features: Any) -> Any:
        """Embeds features, `[..., F]` to `[..., D]`; NumPy or JAX, differentiable."""
        scores = (features - self.mean) * self.scale @ self.components * self.weights
        return scores / ((scores * scores).sum(-1, keepdims=True) + 1e-12) ** 0.5


def find_layers(run: Run, patterns: Sequence[str] = LAYERS) -> dict[str, int]:
    """Layers by name, as `encoder/<layer>` or `decoder/<layer>`, in order of computation.

    Args:
      run: a restored run.
      patterns: shell-style; a layer that fits one of them is taken. `*` for all.

    Returns:
      Name → number of channels.

    Raises:
      ValueError: a pattern that fits no layer.
    """
    names = []

    def note(name):
        if '/' in name:
            names.append(name)  # modules are called in the order of the computation
        return '/' in name

    size = run.config.data.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(
        lambda variables, images: respond(run.model, variables, images, note), run.variables, images
    )
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ValueError(
                f'No layer fits {pattern!r}; there are {", ".join(names)} (* and ? are wildcards).'
            )
    chosen = [n for n in names if any(fnmatch.fnmatchcase(n, pattern) for pattern in patterns)]
    return {name: shapes[name].shape[-1] for name in chosen}


def respond(
    model: nn.Module, variables: Any, images: jax.Array, wanted: Callable[[str], bool]
) -> dict[str, jax.Array]:
    """Runs the network; returns what the layers gave, `[B, h, w, C]`, whose name is `wanted`.

    Arguments as of `pooled_features`.
    """
    _, state = model.apply(
        variables,
        images,
        train=False,
        capture_intermediates=lambda module, method: (
            method == '__call__' and wanted('/'.join(module.path))
        ),
        mutable=['intermediates'],
    )
    return {
        f'{part}/{layer}': calls['__call__'][0]
        for part, layers in state['intermediates'].items()
        for layer, calls in layers.items()
    }


def pooled_features(
    model: nn.Module, variables: Any, images: jax.Array, layers: Sequence[str]
) -> jax.Array:
    """Responses of the channels of layers, averaged over the pixels; differentiable.

    Args:
      model: the run's.
      variables: {'params', 'batch_stats'}.
      images: float32 `[B, S, S, 3]` as scaled by `scale_images`.
      layers: names of `find_layers`.

    Returns:
      float32 `[B, F]`, layer by layer.
    """
    responses = respond(model, variables, images, set(layers).__contains__)
    return jnp.concatenate(
        [responses[layer].astype(jnp.float32).mean((1, 2)) for layer in layers], axis=-1
    )


def _make_extract(run: Run, layers: Sequence[str]):
    """Jitted: variables and uint8 images `[B, S, S, 3]` to float32 features `[B, F]`."""

    @jax.jit
    def extract(variables, images):
        scaled = scale_images(images, run.config.data.input_range)
        return pooled_features(run.model, variables, scaled, layers)

    return extract


def stream_features(
    analysis: Analysis, layers: Sequence[str], progress: str = ''
) -> Iterator[np.ndarray]:
    """Pooled features of the images of an analysis in order, batch by batch.

    Args:
      analysis: whose images.
      layers: names of `find_layers`.
      progress: label of a progress bar; empty for none.

    Yields:
      float32 `[b, F]`.
    """
    run = analysis.run
    batches = input_pipeline.evaluation_batches(
        analysis.examples, batch_size=run.config.eval_batch_size
    )
    extract, variables = _make_extract(run, layers), jax.device_put(run.variables)
    total = len(analysis.examples)
    with tqdm(total=total, desc=progress, unit='img', disable=not progress) as bar:
        for batch, features in evaluate.predictions(extract, variables, batches):
            count = int((batch['index'] >= 0).sum())
            yield np.asarray(features)[:count]
            bar.update(count)


def embed(run: Run, reduction: Reduction, images: np.ndarray) -> np.ndarray:
    """Embeds new images.

    Args:
      run: whose network responds, the one of the reduction.
      reduction: of `load_reduction`.
      images: uint8 `[B, S, S, 3]` at the network's resolution.

    Returns:
      float32 `[B, D]` of unit length.
    """
    features = _make_extract(run, reduction.layers)(run.variables, images)
    return reduction.project(np.asarray(features))


def fit(blocks: Callable[[], Iterator[np.ndarray]], dimensions: int, seed: int = 0) -> dict:
    """Standardisation and principal components of features that do not fit into memory.

    The moments take one pass over the data. The components are those of a subspace iteration with
    Rayleigh-Ritz (Halko et al. 2011, algorithm 4.4), one pass an iteration.

    Args:
      blocks: gives an iterator over the rows, float32 `[b, F]` each; called once for each pass.
      dimensions: D, at most; it is less if the features do not vary in so many directions.
      seed: of the first directions.

    Returns:
      'mean', 'scale' `[F]`, 'components' `[F, D]`, 'weights' `[D]`: float32; 'explained' `[D]`:
      float64. See the module's docstring.

    Raises:
      ValueError: no feature varies.
    """
    count, mean, squares = 0, 0.0, 0.0
    for block in blocks():
        # Chan et al. 1979: the squares of float32 numbers with a large mean would cancel.
        here, wide = len(block), block.astype(np.float64)
        change = wide.mean(0) - mean
        squares = squares + np.square(wide - wide.mean(0)).sum(0)
        squares += change**2 * count * here / (count + here)
        mean = mean + change * here / (count + here)
        count += here
    deviation = np.sqrt(squares / count)
    varies = deviation > 1e-6 * np.abs(mean) + 1e-12
    dimensions = min(dimensions, count - 1, int(varies.sum()))
    if dimensions < 1:
        raise ValueError(f'{count} images have no features that vary: there is nothing to embed.')
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies)
    mean, scale = mean.astype(np.float32), scale.astype(np.float32)

    width = min(dimensions + _MORE, len(mean))
    start = np.random.default_rng(seed).standard_normal((len(mean), width))
    basis = np.linalg.qr(start * varies[:, None])[0].astype(np.float32)
    for _ in range(_PASSES):
        image, inner = np.zeros(basis.shape), np.zeros((width, width))
        for block in blocks():
            standard = (block - mean) * scale
            scores = standard @ basis
            image += standard.T @ scores
            inner += scores.T @ scores
        variances, rotation = np.linalg.eigh(inner / count)
        last, basis = basis, np.linalg.qr(image)[0].astype(np.float32)
    components = last @ rotation[:, ::-1][:, :dimensions]
    variances = variances[::-1][:dimensions]
    # Signs are arbitrary: the largest loading of each component is positive.
    components *= np.sign(components[np.abs(components).argmax(0), np.arange(dimensions)])
    return {
        'mean': mean,
        'scale': scale,
        'components': components.astype(np.float32),
        'weights': (variances**-0.25).astype(np.float32),
        'explained': variances / varies.sum(),
    }


def compute(
    analysis: Analysis,
    patterns: Sequence[str] = LAYERS,
    dimensions: int = DIMENSIONS,
    seed: int = 0,
    progress: bool = True,
) -> tuple[np.ndarray, Reduction]:
    """Fits the reduction to the images of an analysis, and embeds them.

    The features are kept in a temporary file in the analysis' folder.

    Returns:
      Embeddings, float32 `[N, D]`, and the reduction.

    Raises:
      ValueError: a pattern that fits no layer, or features that do not vary.
    """
    layers = find_layers(analysis.run, patterns)
    width = sum(layers.values())
    with tempfile.TemporaryFile(dir=analysis.folder) as file:
        label = f'responses, {analysis.split} at step {analysis.run.step}'
        for block in stream_features(analysis, tuple(layers), label if progress else ''):
            file.write(block.tobytes())

        def blocks():
            # Read, not mapped: mapped pages would count as this process' memory.
            file.seek(0)
            while len(block := np.fromfile(file, np.float32, _BLOCK * width)):
                yield block.reshape(-1, width)

        fitted = fit(blocks, dimensions, seed)
        reduction = Reduction(tuple(layers), np.array([*layers.values()]), **fitted)
        embeddings = np.concatenate([reduction.project(block) for block in blocks()])
    return embeddings, reduction


def save(
    analysis: Analysis, embeddings: np.ndarray, reduction: Reduction, origin: dict[str, dict]
) -> pathlib.Path:
    """Writes both files; returns the path of the embeddings."""
    path = artifacts.save_array(analysis, 'embeddings', embeddings)
    arrays = {f.name: np.asarray(getattr(reduction, f.name)) for f in dataclasses.fields(reduction)}
    checksum = np.int64(zlib.crc32(embeddings))
    artifacts.save_arrays(analysis, 'embeddings', VERSION, origin, crc32=checksum, **arrays)
    return path


def load_reduction(analysis: Analysis) -> Reduction:
    """The fitted reduction.

    Raises:
      ValueError: it is missing, damaged, or does not fit this analysis.
    """
    arrays = artifacts.load_arrays(analysis, 'embeddings', VERSION)
    del arrays['crc32']
    return Reduction(**{**arrays, 'layers': tuple(arrays['layers'].tolist())})


def load(analysis: Analysis) -> np.ndarray:
    """The embeddings, float32 `[N, D]`.

    Raises:
      ValueError: they are missing, damaged, or do not fit this analysis.
    """
    crc32 = artifacts.load_arrays(analysis, 'embeddings', VERSION)['crc32']
    path = analysis.folder / 'embeddings.npy'
    try:
        embeddings = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f'{path} cannot be read ({error}); run analysis.embeddings --force.'
        ) from error
    if zlib.crc32(embeddings) != crc32:
        raise ValueError(
            f'{path} does not belong to the embeddings.npz beside it; run analysis.embeddings '
            '--force.'
        )
    return embeddings


def compute_or_load(
    analysis: Analysis,
    patterns: Sequence[str] = LAYERS,
    dimensions: int = DIMENSIONS,
    seed: int = 0,
    force: bool = False,
) -> tuple[np.ndarray, Reduction]:
    """What was written before with the same settings, or computes and writes it.

    Raises:
      ValueError: a pattern that fits no layer; or what is there is damaged or of other images, and
        `force` is not given.
    """
    layers = list(find_layers(analysis.run, patterns))
    origin = artifacts.origin(analysis, layers=layers, dimensions=dimensions, seed=seed)
    if not force and artifacts.is_current(analysis, 'embeddings.npz', VERSION, origin):
        return load(analysis), load_reduction(analysis)
    result = compute(analysis, layers, dimensions, seed)
    save(analysis, *result, origin)
    return result


def summarize(embeddings: np.ndarray, reduction: Reduction) -> dict:
    """For JSON."""
    return {
        'num_images': len(embeddings),
        'dimensions': embeddings.shape[1],
        'num_features': len(reduction.mean),
        'constant_features': int((reduction.scale == 0).sum()),
        'layers': dict(zip(reduction.layers, reduction.channels.tolist(), strict=True)),
        'explained': reduction.explained.tolist(),
    }


def to_markdown(summary: dict) -> str:
    """Layers and explained variance."""
    explained = np.array(summary['explained'])
    shown = [i for i in (1, 2, 4, 8, 16, 32, 64, 128) if i < len(explained)] + [len(explained)]
    rows = [(str(i), f'{explained[i - 1]:.2%}', f'{explained[:i].sum():.1%}') for i in shown]
    layers = [*summary['layers']]
    return '\n\n'.join(
        [
            f'{summary["num_images"]} images, {summary["num_features"]} features '
            f'({summary["constant_features"]} of them constant) of {len(layers)} layers, '
            f'{markdown.escape(layers[0])} … {markdown.escape(layers[-1])} '
            f'→ {summary["dimensions"]} components.',
            markdown.table(('component', 'variance it explains', 'up to it'), rows),
        ]
    )


def _run(arguments: argparse.Namespace) -> dict:
    analysis = artifacts.open_chosen(arguments)
    summary = summarize(
        *compute_or_load(
            analysis,
            arguments.layers,
            arguments.dimensions,
            arguments.seed,
            arguments.force,
        )
    )
    print(f'{analysis.folder / "embeddings.npy"}:', to_markdown(summary), sep='\n\n')
    return summary


def main(argv: list[str] | None = None) -> int:
    parser = make_parser('embeddings', __doc__)
    parser.add_argument(
        '--layers',
        nargs='+',
        default=LAYERS,
        metavar='PATTERN',
        help="names with the wildcards * and ?, such as 'encoder/block_1?_*_relu' or 'decoder/*'; "
        f'default: {" ".join(LAYERS)}',
    )
    parser.add_argument(
        '--dimensions',
        type=int,
        default=DIMENSIONS,
        help='of the embedding, at most; default: %(default)s',
    )
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument('--force', action='store_true', help='compute them again')
    return run_command(parser.parse_args(argv), _run)
