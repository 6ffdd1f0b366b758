"""A trained network as an object that segments and embeds any images."""

import collections
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageOps

from segmentation import evaluate
from segmentation.activations import LAYERS, find_layers, pooled_features
from segmentation.data import coco_files, image_files, transforms
from segmentation.models.unet import scale_images
from segmentation.trained import Run, restore_run

# A path, an image of Pillow, or RGB pixels uint8 `[H, W, 3]`.
ImageLike = str | os.PathLike | Image.Image | np.ndarray | jax.Array


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the network sees in an image, at the image's own size."""

    classes: np.ndarray  # uint8 `[H, W]`, number of the class, 0 is background
    probabilities: np.ndarray  # float32 `[H, W, C]`, sums to 1 over the classes


@dataclasses.dataclass(frozen=True)
class Input:
    """An image as the network sees it."""

    pixels: np.ndarray  # uint8 `[S, S, 3]`
    height: int  # of the upright image
    width: int


def read_input(image: ImageLike, size: int, antialias: bool) -> Input:
    """Reads an image as the input pipeline of training does, without augmentation.

    EXIF orientation is applied to files and to images of Pillow.

    Args:
      image: the image.
      size: S, of the network.
      antialias: `data.antialias` of the config.

    Raises:
      ValueError: the file is missing or not a readable image, or the pixels are not uint8
        `[H, W, 3]`.
    """
    if isinstance(image, np.ndarray | jax.Array):
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f'An image as an array is RGB, uint8 [H, W, 3]; got {image.dtype} '
                f'{list(image.shape)}.'
            )
        upright = Image.fromarray(image)
        height, width = image.shape[:2]
    elif isinstance(image, Image.Image):
        try:
            upright = image_files.to_rgb(ImageOps.exif_transpose(image))
        except Exception as error:  # Pillow reads the file now, and raises almost anything.
            raise ValueError(f'Cannot read the image {image!r}: {error}') from error
        width, height = upright.size
    elif not isinstance(image, str | os.PathLike):
        raise ValueError(_kinds(image))
    else:
        try:
            data = coco_files.read_regular(pathlib.Path(image))
            width, height = image_files.header_of(image_files.open_image(data)).displayed
            upright = transforms.decode_image(data, (0, 0), size if antialias else 0, strict=True)
        except Exception as error:  # Pillow's decoders raise almost anything on damaged files.
            raise ValueError(f'Cannot read {image} as an image: {error}') from error
    return Input(transforms.resize(upright, size, (0.0, 0.0, 1.0, 1.0), antialias), height, width)


class Model:
    """The network of a run, on all devices of this process."""

    def __init__(self, run: Run):
        self.run = run
        self._variables = evaluate.replicate(run.variables)
        self._predict = evaluate.make_predict(run.model, run.config.data.input_range)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the C classes, background first."""
        return self.run.class_names

    @property
    def batch_size(self) -> int:
        """Images that the network runs on at once, a multiple of the number of devices."""
        return evaluate.whole_batch(min(self.run.batch_size, self.run.config.eval_batch_size))

    def read(self, image: ImageLike) -> Input:
        """`read_input` at this network's resolution; may be called by several threads."""
        data = self.run.config.data
        return read_input(image, data.image_size, data.antialias)

    def predict(
        self, images: ImageLike | Iterable[ImageLike], *, flip: bool = False
    ) -> list[Prediction]:
        """Segments images of any sizes.

        Logits are interpolated bilinearly to the size of the image, as in the evaluation.

        Args:
          images: one image, several, or a batch uint8 `[B, H, W, 3]`.
          flip: whether to average the logits with those of the mirrored image.

        Returns:
          One prediction per image, also if there is only one.

        Raises:
          ValueError: see `read_input`.
        """
        from scipy import special  # now, as it takes long

        sizes: collections.deque[Input] = collections.deque()
        result = []
        for logits in self.logits(_noted(map(self.read, _each(images)), sizes), flip=flip):
            image = sizes.popleft()
            enlarged = evaluate.enlarge(logits, image.height, image.width)
            classes = enlarged.argmax(-1).astype(np.uint8)
            result.append(Prediction(classes, special.softmax(enlarged, axis=-1)))
        return result

    def embed(self, images: ImageLike | Iterable[ImageLike]) -> np.ndarray:
        """Pooled activations of images: the features that `analysis.embeddings` reduces.

        Args:
          images: see `predict`.

        Returns:
          float32 `[N, F]`, the means over the pixels of every channel of `activations.LAYERS`.

        Raises:
          ValueError: see `read_input`.
        """
        inputs = (self.read(image).pixels for image in _each(images))
        rows = list(self._stream(self._embed, inputs))
        return np.stack(rows) if rows else np.zeros((0, sum(self._layers.values())), np.float32)

    def logits(self, inputs: Iterable[np.ndarray], *, flip: bool = False) -> Iterator[np.ndarray]:
        """Runs the network batch by batch, some batches ahead of the caller.

        Args:
          inputs: uint8 `[S, S, 3]` each.
          flip: see `predict`.

        Yields:
          float32 `[S, S, C]`, in the same order.
        """
        yield from self._stream(
            evaluate.with_mirrored(self._predict) if flip else self._predict, inputs
        )

    @functools.cached_property
    def _layers(self) -> dict[str, int]:
        return find_layers(self.run, LAYERS)

    @functools.cached_property
    def _embed(self) -> Callable[[Any, np.ndarray], jax.Array]:
        model, input_range = self.run.model, self.run.config.data.input_range
        layers = tuple(self._layers)

        def apply(variables: Any, images: jax.Array) -> jax.Array:
            return pooled_features(model, variables, scale_images(images, input_range), layers)

        return evaluate.on_local_devices(apply)

    def _stream(
        self, function: Callable[[Any, np.ndarray], Any], inputs: Iterable[np.ndarray]
    ) -> Iterator[np.ndarray]:
        batches = self._batches(inputs)
        for batch, found in evaluate.predictions(function, self._variables, batches):
            yield from np.asarray(found)[: batch['count']]

    def _batches(self, inputs: Iterable[np.ndarray]) -> Iterator[dict[str, Any]]:
        """Batches of equal size; the last one is padded with black images."""
        size, side = self.batch_size, self.run.config.data.image_size
        batch, count = np.zeros((size, side, side, 3), np.uint8), 0
        for pixels in inputs:
            batch[count] = pixels
            count += 1
            if count == size:
                yield {'image': batch, 'count': count}
                batch, count = np.zeros_like(batch), 0
        if count:
            yield {'image': batch, 'count': count}


def load(workdir: str | os.PathLike, checkpoint: str | int = 'best') -> Model:
    """See `segmentation.load`."""
    return Model(restore_run(workdir, str(checkpoint)))


def _each(images: ImageLike | Iterable[ImageLike]) -> Iterator[ImageLike]:
    if isinstance(images, str | os.PathLike | Image.Image):
        return iter((images,))
    if isinstance(images, np.ndarray | jax.Array):
        return iter(np.asarray(images) if images.ndim == 4 else (images,))
    if not isinstance(images, Iterable):
        raise ValueError(_kinds(images))
    return iter(images)


def _kinds(image: object) -> str:
    return (
        'An image is a path, an image of Pillow, or an array uint8 [H, W, 3]; got '
        f'{type(image).__name__}.'
    )


def _noted(inputs: Iterable[Input], sizes: collections.deque) -> Iterator[np.ndarray]:
    """The pixels of inputs; the inputs are appended to `sizes` for the caller."""
    for image in inputs:
        sizes.append(image)
        yield image.pixels
