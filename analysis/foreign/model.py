"""What all foreign models have in common: predictions and features of images, kept on disk."""

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from segmentation.data.examples import Examples
from segmentation.files import replacing

Batch = dict[str, np.ndarray]
Change = Callable[[Batch], Batch]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Of one image."""

    logits: np.ndarray  # float32 [h, w, C], of the label space's classes, at any resolution
    features: np.ndarray | None = None  # float32 [F]


class ForeignModel(abc.ABC):
    """A model that was not trained by this project, or its stored predictions.

    Attributes:
      layers: number of features by tensor; empty if images cannot be embedded.
      unavailable: why a stage cannot be run, by its name.
      can_run: whether it predicts any image, not only those of the data set.
      certain: whether its predictions are classes without probabilities.
      side: side of the images that it is fed with, in pixels; 0 for the analysis' resolution.
    """

    layers: dict[str, int]
    unavailable: dict[str, str]
    can_run: bool
    certain: bool = False
    side: int

    @abc.abstractmethod
    def of_examples(
        self, examples: Examples, rows: Sequence[int], images: np.ndarray | None
    ) -> list[Prediction]:
        """Predictions of some images of a data set.

        `images` are the pixels that a model that runs is fed with, uint8 `[b, side, side, 3]`.
        """

    def of_images(self, images: np.ndarray) -> list[Prediction]:
        """Predictions of any images, uint8 `[B, h, w, 3]`.

        Raises:
          ValueError: this model cannot be run.
        """
        raise ValueError(NO_MODEL)


NO_MODEL = (
    'only predictions were given (--predictions), not the model: nothing can be computed for '
    'other or changed images'
)
NEED_EMBEDDINGS = 'embeddings', 'clusters', 'similarity_map', 'similar'


class NoNetwork:
    """Stands where a run of this project has its network; using it is an error that says why."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        raise ValueError(
            'This needs a network of this project: gradients and activations of a foreign model '
            'are not accessible.'
        )


def resize_logits(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Logits `[h, w, C]` at another resolution, bilinear; averages if it is lower. Float32."""
    if logits.shape[:2] == (height, width):
        return logits
    channels = (
        Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(logits, -1, 0)
    )
    resized = [each.resize((width, height), Image.Resampling.BILINEAR) for each in channels]
    return np.stack([np.asarray(each) for each in resized], -1)


class Kept:
    """Predictions that were computed, a file per image; they can be deleted at any time."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, image_id: int) -> Prediction | None:
        try:
            with np.load(self._folder / f'{image_id}.npz', allow_pickle=False) as arrays:
                features = arrays['features']
                return Prediction(
                    arrays['logits'].astype(np.float32), features if features.size else None
                )
        except Exception:  # NumPy and zlib raise many kinds on damaged files
            return None  # missing or damaged: computed again

    def write(self, image_id: int, prediction: Prediction) -> None:
        features = np.zeros(0, np.float32) if prediction.features is None else prediction.features
        with replacing(self._folder / f'{image_id}.npz') as partial, partial.open('wb') as file:
            # Half precision: this copy is for pictures, label issues and embeddings. Only the
            # differences of logits mean something, and half precision ends at 65,504.
            logits = prediction.logits - prediction.logits.max(-1, keepdims=True)
            logits = np.maximum(logits, np.finfo(np.float16).min).astype(np.float16)
            np.savez_compressed(file, logits=logits, features=features)


def predict_batch(
    model: ForeignModel,
    kept: Kept | None,
    examples: Examples,
    batch: Batch,
    change: Change | None,
    fresh: bool = False,
) -> tuple[np.ndarray, list[Prediction]]:
    """Predictions of a batch of `input_pipeline.evaluation_batches`.

    Args:
      model: of which model.
      kept: where unchanged images are kept; what is there is not computed again.
      examples: those of the batch.
      batch: padded at its end with the index -1.
      change: of the images, before the model sees them.
      fresh: compute all again; what is kept has the resolution of the labels.

    Returns:
      Logits at the resolution of the labels, float32 `[B, S, S, C]`, 0 for padding, and the
      predictions of the images as the model made them.

    Raises:
      ValueError: images are changed, but the model cannot be run.
    """
    if change and not model.can_run:
        raise ValueError(f'{NO_MODEL}.')
    rows, side = batch['index'][batch['index'] >= 0].tolist(), batch['label'].shape[1]
    use = kept if kept and not change else None
    read = use if use and not fresh else None
    found = {row: read.read(int(examples.image_ids[row])) if read else None for row in rows}
    wanted = [row for row, prediction in found.items() if prediction is None]
    if wanted:
        images = None
        if model.can_run:
            places = [rows.index(row) for row in wanted]
            images = fed_images(model, examples, wanted, batch['image'][places])
            images = change({**batch, 'image': images})['image'] if change else images
        for row, prediction in zip(
            wanted, model.of_examples(examples, wanted, images), strict=True
        ):
            found[row] = prediction
            if use:
                small = resize_logits(prediction.logits, side, side)
                use.write(int(examples.image_ids[row]), Prediction(small, prediction.features))
    predictions = [prediction for prediction in found.values() if prediction]
    logits = np.zeros(
        (len(batch['label']), side, side, predictions[0].logits.shape[-1]), np.float32
    )
    for place, prediction in enumerate(predictions):
        logits[place] = resize_logits(prediction.logits, side, side)
    return logits, predictions


def fed_images(
    model: ForeignModel, examples: Examples, rows: Sequence[int], images: np.ndarray
) -> np.ndarray:
    """Images at the side that a model is fed with, decoded again if `images` are of another."""
    if model.side in (0, images.shape[1]):
        return images
    config = examples.config.copy_and_resolve_references().unlock()
    config.image_size = model.side
    larger = dataclasses.replace(examples, config=config.lock())
    return np.stack([larger[row]['image'] for row in rows])
