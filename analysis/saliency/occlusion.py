"""Heat-maps of models without gradients: what is lost when a part of the image is blurred.

Occlusion (Zeiler and Fergus 2014): the image is divided into cells, each of which is replaced by
the blurred image in turn, and the model runs again. The map is the difference of the score without
and with the change, so positive is evidence for it. This needs only a model that can be run, but
GRID² runs per image. A cell is a seventh of the side, so the map shows no fine detail.
"""

import numpy as np
from PIL import Image, ImageFilter
from tqdm import tqdm

from analysis.foreign.model import ForeignModel, fed_images, resize_logits
from analysis.predictions.schema import Predictions
from analysis.saliency.schema import OCCLUSION, Saliency, SaliencyMaps, name_targets
from analysis.stage.run import Analysis
from segmentation.data.masks import IGNORE

GRID = 7  # cells per side
_LEAST = 4  # images


def affordable(number: int) -> int:
    """Number of images that can be explained at half the cost of a pass over `number` images."""
    return max(_LEAST, number // (2 * GRID**2))


def scores(logits: np.ndarray, regions: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Scores of an image, float32 `[C]`: of each class but background, and the loss.

    Args:
      logits: `[S, S, C]`.
      regions: bool `[C - 1, S, S]`, where the unchanged image is predicted as each class; the score
        of a class is its mean probability there, 0 without any.
      label: uint8 `[S, S]`; the loss is the mean cross-entropy in nats over the counted pixels.
    """
    shifted = logits - logits.max(-1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    found = [
        float(np.exp(log_probability[region, k]).mean()) if region.any() else 0.0
        for k, region in enumerate(regions, 1)
    ]
    rows, columns = np.nonzero(label != IGNORE)
    loss = -log_probability[rows, columns, label[rows, columns]]
    return np.array([*found, loss.mean() if len(loss) else 0.0], np.float32)


def explain(
    model: ForeignModel, image: np.ndarray, class_map: np.ndarray, label: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Occlusion maps of one image.

    Args:
      model: one that can be run.
      image: uint8 `[h, w, 3]`, as the model is fed with.
      class_map: uint8 `[S, S]`, its prediction.
      label: uint8 `[S, S]`, ground truth.
      classes: C.

    Returns:
      Scores of the unchanged image, `[C]` (see `scores`), and maps, float32 `[C, GRID, GRID]`.
    """
    side = len(label)
    regions = np.stack([class_map == k for k in range(1, classes)])
    radius = max(image.shape[:2]) / 12
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
    rows, columns = (np.arange(length) * GRID // length for length in image.shape[:2])

    def score(pixels: np.ndarray) -> np.ndarray:
        logits = model.of_images(pixels[None])[0].logits
        return scores(resize_logits(logits, side, side), regions, label)

    whole = score(image)
    maps = np.zeros((classes, GRID, GRID), np.float32)
    for y in range(GRID):
        for x in range(GRID):
            cell = (rows == y)[:, None] & (columns == x)
            maps[:, y, x] = whole - score(np.where(cell[..., None], blurred, image))
    return whole, maps


def compute(
    analysis: Analysis, rows: np.ndarray, label: np.ndarray, predicted: Predictions
) -> tuple[SaliencyMaps, Saliency]:
    """Maps of some images.

    Args:
      analysis: of a foreign model that can be run.
      rows: int64 `[J]`, the images.
      label: int64 `[J]`, a class of each, of which `Saliency` keeps the map.
      predicted: of all images.
    """
    model, number = analysis.foreign, len(analysis)
    assert model is not None
    classes = len(analysis.class_names)
    score = np.full((number, classes), np.nan, np.float32)
    kept = np.zeros((number, classes, GRID, GRID), np.int8)
    largest = np.zeros((number, classes), np.float32)
    examples = np.zeros((len(rows), 1, GRID, GRID), np.float16)
    for place, row in enumerate(tqdm(rows.tolist(), desc='occlusion', unit='img')):
        example = analysis.examples[row]
        image = fed_images(model, analysis.examples, [row], example['image'][None])[0]
        class_map = predicted.class_map(row)
        values, maps = explain(model, image, class_map, example['label'], classes)
        there = [(class_map == k).any() for k in range(1, classes)] + [True]
        score[row] = np.where(there, values, np.nan)
        largest[row] = np.abs(maps).max((1, 2))
        shares = maps / np.where(largest[row] > 0, largest[row], 1)[:, None, None]
        kept[row] = np.round(shares * 127)
        examples[place, 0] = shares[label[place] - 1]
    shown = np.stack(
        [np.bincount(predicted.class_map(row).ravel(), minlength=classes) for row in range(number)]
    )
    nothing = np.full(number, -1, np.int32)
    found = SaliencyMaps(
        targets=name_targets(analysis.class_names, False),
        layers=(OCCLUSION,),
        score=score,
        gradient=np.zeros((number, classes, 1, 1), np.uint8),
        gradient_scale=np.zeros((number, classes), np.float32),
        layer_maps={OCCLUSION: kept},
        layer_scale=largest[..., None],
        predicted=(shown / predicted.size**2).astype(np.float32),
        cluster=nothing,
        other=nothing,
        common={},
        agreement={},
    )
    result = Saliency(
        methods=(OCCLUSION,),
        energy=(),
        common_features=(),
        class_examples={'rows': rows, 'label': label, 'maps': examples} if len(rows) else {},
    )
    return found, result
