"""Segments many image files on all cores and devices."""

import concurrent.futures
import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from segmentation import evaluate, overlays
from segmentation.data import transforms
from segmentation.prediction_files import Found, OutputFolder
from segmentation.predictor import Input, Model

# Pixels above which images are classified and written one at a time: that takes 10 to 20 bytes per
# pixel, and cameras and scanners make files of 100 megapixels and more.
_LARGE = 1 << 24


class FilePredictor:
    """Threads that each read, segment and write one batch of images after the other.

    So all cores are busy on CPU, where the network alone does not use them fully, and accelerators
    compute for one thread while the others read and write.
    """

    def __init__(self, model: Model, output: OutputFolder, flip: bool, threads: int):
        self.model, self.output, self.flip, self.threads = model, output, flip, threads
        # Of the classes only, so that Pillow writes as few bits per pixel as they need.
        self._palette = overlays.colorize(np.arange(len(model.class_names))).tobytes()
        self.skipped: list[dict[str, str]] = []
        self._large = threading.Lock()

    def run(self, images: Sequence[Found]) -> Iterator[int]:
        """Predicts images; yields how many more are done or skipped."""
        for found in images:  # If it is skipped now, an earlier result is of another file.
            self.output.entries.pop(found.name, None)
        size = self.model.batch_size
        starts = iter(range(0, len(images), size))
        at_once = 1  # The first batch compiles the network, before several threads would.
        pending: set[concurrent.futures.Future] = set()
        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            try:
                while True:
                    for start in itertools.islice(starts, at_once - len(pending)):
                        pending.add(pool.submit(self._predict, images[start : start + size]))
                    if not pending:
                        return
                    done, pending = concurrent.futures.wait(
                        pending, return_when=concurrent.futures.FIRST_COMPLETED
                    )
                    for future in done:
                        entries, skipped = future.result()
                        for entry in entries:
                            self.output.note(entry)
                            at_once = 2 * self.threads
                        self.skipped += skipped
                        yield len(entries) + len(skipped)
            finally:
                for future in pending:
                    future.cancel()

    def _predict(self, images: Sequence[Found]) -> tuple[list[dict], list[dict]]:
        """The entries of a batch of images in `predictions.jsonl`, and the skipped ones."""
        read, skipped = [], []
        for found in images:
            try:
                if reason := found.reason_to_skip():
                    raise ValueError(reason)
                if not self.output.fits(found.name):
                    raise ValueError('Its name is too long to append -mask.png or -overlay.png.')
                read.append((found, self.model.read(found.path)))
            except ValueError as error:
                skipped.append({'file': str(found.path), 'reason': str(error)})
        logits = self.model.logits((image.pixels for _, image in read), flip=self.flip)
        entries = []
        for (found, image), values in zip(read, logits, strict=True):
            try:
                entries.append(self._finish_in_turn(found, image, values))
            except ValueError as error:
                skipped.append({'file': str(found.path), 'reason': str(error)})
        return entries, skipped

    def _finish_in_turn(self, found: Found, image: Input, logits: np.ndarray) -> dict[str, Any]:
        is_large = image.height * image.width > _LARGE
        with self._large if is_large else contextlib.nullcontext():
            return self._finish(found, image, logits)

    def _finish(self, found: Found, image: Input, logits: np.ndarray) -> dict[str, Any]:
        """Writes the requested files of an image; returns its entry in `predictions.jsonl`.

        Raises:
          ValueError: the image has changed, or is gone.
        """
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
            mask = Image.fromarray(label)
            mask.putpalette(self._palette)
            with self.output.writing(found.name, 'masks') as path:
                mask.save(path, 'PNG', compress_level=1)
        if 'overlays' in self.output.wanted:
            pixels = self._read_again(found, label.shape)
            with self.output.writing(found.name, 'overlays') as path:
                picture = Image.fromarray(overlays.overlay(pixels, label))
                picture.save(path, 'PNG', compress_level=1)
        if 'coco_json' in self.output.wanted:
            entry['masks'] = encode_classes(label, logits)
        return entry

    @staticmethod
    def _read_again(found: Found, shape: tuple[int, ...]) -> np.ndarray:
        """The pixels at their own size, which are not kept for a whole batch."""
        try:
            pixels = np.asarray(transforms.decode_image(found.path.read_bytes(), (0, 0)))
        except OSError as error:
            raise ValueError(f'Cannot be read any more: {error}') from error
        if pixels.shape[:2] != shape:
            raise ValueError('The file was replaced while it was predicted; repeat the command.')
        return pixels


def encode_classes(label: np.ndarray, logits: np.ndarray) -> list[dict[str, Any]]:
    """Run lengths of each foreground class in COCO's form, with a score.

    The score is the mean probability of the class over the pixels, at the network's resolution,
    that are predicted as this class.
    """
    from scipy import special  # now, as it takes long

    probabilities, coarse = special.softmax(logits, axis=-1), logits.argmax(-1)
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
