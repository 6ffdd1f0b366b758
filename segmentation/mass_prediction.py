"""Segments many image files: threads read and write while the devices compute."""

import collections
import concurrent.futures
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from segmentation import evaluate, overlays
from segmentation.data import transforms
from segmentation.prediction_files import Found, OutputFolder
from segmentation.predictor import Input, Model


def in_order(
    pool: concurrent.futures.Executor, function: Any, items: Iterable[Any], ahead: int
) -> Iterator[tuple[Any, Any]]:
    """Yields (item, function(item)) in order, while a pool works on the next `ahead` items."""
    pending: collections.deque = collections.deque()
    try:
        for item in items:
            pending.append((item, pool.submit(function, item)))
            if len(pending) > ahead:
                item, future = pending.popleft()
                yield item, future.result()
        while pending:
            item, future = pending.popleft()
            yield item, future.result()
    finally:
        for _, future in pending:
            future.cancel()


class FilePredictor:
    """Reads, segments and writes images, each in its own threads."""

    def __init__(self, model: Model, output: OutputFolder, flip: bool, threads: int):
        self.model, self.output, self.flip, self.threads = model, output, flip, threads
        self.skipped: list[dict[str, str]] = []

    def run(self, images: list[Found]) -> Iterator[int]:
        """Predicts images; yields how many more are done or skipped."""
        skipped = len(self.skipped)
        with (
            concurrent.futures.ThreadPoolExecutor(self.threads) as readers,
            concurrent.futures.ThreadPoolExecutor(self.threads) as writers,
        ):
            predicted = self._predictions(readers, images)
            for _, entry in in_order(writers, self._finish, predicted, 4 * self.threads):
                self.output.note(entry)
                yield 1 + len(self.skipped) - skipped
                skipped = len(self.skipped)
        yield len(self.skipped) - skipped

    def _read(self, found: Found) -> Input | str:
        """The network's input, or why there is none."""
        try:
            return self.model.read(found.path)
        except ValueError as error:
            return str(error)

    def _predictions(
        self, readers: concurrent.futures.Executor, images: list[Found]
    ) -> Iterator[tuple[Found, Input, np.ndarray]]:
        waiting: collections.deque[tuple[Found, Input]] = collections.deque()
        ahead = 2 * self.model.batch_size + self.threads

        def inputs() -> Iterator[np.ndarray]:
            for found, result in in_order(readers, self._read, images, ahead):
                if isinstance(result, str):
                    self.skipped.append({'file': str(found.path), 'reason': result})
                    continue
                waiting.append((found, result))
                yield result.pixels

        for logits in self.model.logits(inputs(), flip=self.flip):
            yield *waiting.popleft(), logits

    def _finish(self, job: tuple[Found, Input, np.ndarray]) -> dict[str, Any]:
        """Writes what is wanted of an image; returns its entry in `predictions.jsonl`."""
        found, image, logits = job
        label = evaluate.enlarge_and_classify(logits, image.height, image.width)
        counts = [np.count_nonzero(label == number) for number in range(logits.shape[-1])]
        entry: dict[str, Any] = {
            'image': found.name,
            'source': found.version,
            'height': image.height,
            'width': image.width,
            'share_of_pixels': [count / label.size for count in counts],
        }
        if 'masks' in self.output.wanted:
            mask = Image.fromarray(label).convert('P')
            mask.putpalette(overlays.colorize(np.arange(256, dtype=np.uint8)).tobytes())
            with self.output.writing(found.name, 'masks') as path:
                mask.save(path, 'PNG', compress_level=1)
        if 'overlays' in self.output.wanted:
            pixels = np.asarray(transforms.decode_image(found.path.read_bytes(), (0, 0)))
            with self.output.writing(found.name, 'overlays') as path:
                picture = Image.fromarray(overlays.overlay(pixels, label))
                picture.save(path, 'PNG', compress_level=1)
        if 'coco_json' in self.output.wanted:
            entry['masks'] = encode_classes(label, logits)
        return entry


def encode_classes(label: np.ndarray, logits: np.ndarray) -> list[dict[str, Any]]:
    """Run lengths of each foreground class in COCO's form, with a score.

    The score is the mean probability of the class over the pixels, at the network's resolution,
    that are predicted as this class.
    """
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities, coarse = powers / powers.sum(-1, keepdims=True), logits.argmax(-1)
    masks = []
    for number in np.unique(label[label > 0]).tolist():
        run_lengths = mask_utils.encode(np.asfortranarray(label == number, np.uint8))
        mine = probabilities[..., number]
        score = mine[coarse == number].mean() if (coarse == number).any() else mine.max()
        masks.append(
            {
                'category_id': number,
                'segmentation': {
                    'size': list(label.shape),
                    'counts': run_lengths['counts'].decode('ascii'),
                },
                'score': round(float(score), 4),
            }
        )
    return masks
