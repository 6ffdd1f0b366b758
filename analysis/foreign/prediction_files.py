"""Stored predictions of a foreign model: index PNGs, COCO results, or arrays."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from analysis.foreign import adapter as adapters
from analysis.foreign.adapter import Adapter
from analysis.foreign.array_files import load_array
from analysis.foreign.model import (
    NEED_EMBEDDINGS,
    NO_MODEL,
    ForeignModel,
    Prediction,
)
from segmentation.data import annotations
from segmentation.data.examples import Examples
from segmentation.files import is_within

_INDEX_MODES = ('L', 'P', '1', 'I', 'I;16')  # of PNG files
_BITS = {'L;2': 2, 'L;4': 4}  # of gray PNG files whose numbers Pillow changes
_PLANES = 'class map', 'single logit', 'single probability'  # forms without an axis of classes
_NAMED = 3  # examples in an error


class PredictionFiles(ForeignModel):
    """Stored predictions, and embeddings if there are any."""

    can_run = False
    side = 0

    def __init__(
        self,
        path: pathlib.Path,
        adapter: Adapter,
        class_names: Sequence[str],
        category_to_class: Mapping[int, int],
        embeddings: Mapping[int, np.ndarray] | None = None,
    ):
        """Opens predictions.

        Args:
          path: a folder of `.png` or `.npy` files, named as the images or by image id; or COCO
            results, a `.json` file.
          adapter: its `classes` say which numbers or channels are which class.
          class_names: of the label space, background first.
          category_to_class: class by category id, for COCO results.
          embeddings: by image id, see `read_embeddings`.

        Raises:
          ValueError: the path holds no predictions, or they are damaged.
        """
        self._adapter, self._class_names = adapter, tuple(class_names)
        self._embeddings = embeddings
        self._files: dict[str, pathlib.Path] = {}
        self._instances: dict[int, list[dict[str, Any]]] = {}
        self._category_to_class = dict(category_to_class)
        self.unavailable = {'saliency': NO_MODEL}
        self.layers = {}
        if embeddings:
            self.layers = {'given embeddings': len(next(iter(embeddings.values())))}
        else:
            why = 'there are no embeddings: give --embeddings'
            self.unavailable |= dict.fromkeys(NEED_EMBEDDINGS, why)
        if path.is_dir():
            self.kind, self._files = _list_files(path)
        elif path.suffix == '.json' and path.is_file():
            self.kind, self._instances = 'coco', _read_results(path)
        else:
            raise ValueError(
                f'{path} is neither a folder of predictions nor a .json file of COCO results.'
            )
        self._path, self.certain = path, self.kind != 'npy' or self._are_class_maps()
        if self.kind == 'coco' and adapter.classes is not None:
            mapping = adapters.class_of_channel(adapter, class_names, None)
            self._category_to_class = {k: int(v) for k, v in enumerate(mapping) if v}
        elif self.kind == 'png':
            self._mapping = adapters.class_of_channel(adapter, class_names, None)

    def check(self, examples: Examples) -> str:
        """Checks that the predictions are of these images; returns what is left over, or ''.

        Raises:
          ValueError: predictions or embeddings of images are missing.
        """
        ids = examples.image_ids.tolist()
        if self._embeddings is not None:
            if missing := [key for key in ids if key not in self._embeddings]:
                raise ValueError(
                    f'The embeddings lack {len(missing)} of the {len(ids)} images, such as image '
                    f'{_some(missing)}.'
                )
        if self.kind == 'coco':
            categories = {c.id: c.name for c in examples.splits[0].categories}
            self._check_meaning(categories)
            return self._check_results(ids, list(categories))
        used: dict[str, str] = {}
        absent = []
        for row in range(len(ids)):
            image = examples.record(row)['file_name']
            name = self._find(ids[row], image)
            if name is None:
                absent.append(image)
            elif name in used:
                raise ValueError(
                    f'{self._files[name]} may be the prediction for {used[name]} or for {image}: '
                    'name the files by the whole paths of the images.'
                )
            else:
                used[name] = image
        if absent:
            raise ValueError(
                f'{self._path} has no prediction for {len(absent)} of the {len(ids)} images, such '
                f'as {_some(absent)}. Files are named as the image, or by its id: '
                f'{pathlib.PurePath(absent[0]).stem}.{self.kind}.'
            )
        left = len(self._files) - len(used)
        return f'{left} files that belong to no image of this split are ignored' if left else ''

    def _check_meaning(self, categories: Mapping[int, str]) -> None:
        """Checks that the ids are not those of scripts/predict.py, which numbers its classes."""
        try:
            beside = json.loads(self._path.with_name('images.json').read_bytes())
            meant = {each['id']: each['name'] for each in beside['categories']}
        except (OSError, ValueError, KeyError, TypeError):
            return  # no results of scripts/predict.py
        # Of a category that the data do not have, the name matters only if a class has it.
        names = {*categories.values(), *self._class_names}
        other = any(categories.get(k, n) != n for k, n in meant.items()) or any(
            k not in categories and n in names for k, n in meant.items()
        )
        if other and self._adapter.classes is None:
            raise ValueError(
                f'The category ids in {self._path} are those of images.json beside it ('
                f'{_some([f"{k}: {name}" for k, name in meant.items()])}), not those of the data. '
                'Of scripts/predict.py, give the folder with its masks instead.'
            )

    def _check_results(self, ids: Sequence[int], category_ids: Sequence[int]) -> str:
        """See `check`, for COCO results; with the ids of the data's images and categories."""
        if not self._instances:
            raise ValueError(f'{self._path} is an empty list: it has no results.')
        known = self._instances.keys() & set(ids)
        if not known:
            raise ValueError(
                f'{self._path} has results for {len(self._instances)} images (ids '
                f'{_some(sorted(self._instances))}), but for none of the {len(ids)} images of '
                f'the data (ids {_some(ids)}).'
            )
        entries = [entry for key in known for entry in self._instances[key]]
        other = [
            e['category_id'] for e in entries if not self._category_to_class.get(e['category_id'])
        ]
        found = sorted({entry['category_id'] for entry in entries})
        if self._adapter.classes is None and not set(found) & set(category_ids):
            raise ValueError(
                f'{self._path} has results of the categories {_some(found)}, but the ids of the '
                f'data\'s categories are {_some(sorted(category_ids))}: say in "classes" of an '
                'adapter which numbers are which class.'
            )
        least = self._adapter.score_threshold
        uncertain = sum(entry['score'] < least for entry in entries)
        empty, elsewhere = len(ids) - len(known), len(self._instances) - len(known)
        notes = {
            f'{empty} images have no predicted instance: background': empty,
            f'images with results that are not in this split, ignored: {elsewhere}': elsewhere,
            f'{len(other)} of {len(entries)} results are of categories that are no class (ids '
            f'{_some(sorted(set(other)))}): background': len(other),
            f'{uncertain} of {len(entries)} results have a score below {least:g} '
            '("score_threshold" of an adapter): left out': uncertain,
        }  # fmt: skip
        return '; '.join(note for note, count in notes.items() if count)

    def _are_class_maps(self) -> bool:
        """Whether the arrays are numbers of classes, which have no probabilities."""
        if output := self._adapter.output:
            return output.form == 'class map'
        values = load_array(next(iter(self._files.values())))
        whole = np.issubdtype(values.dtype, np.integer) or values.dtype == np.bool_
        return whole and sum(n > 1 for n in values.shape) <= 2

    def of_examples(
        self, examples: Examples, rows: Sequence[int], images: np.ndarray | None
    ) -> list[Prediction]:
        del images
        return [self._of_row(examples, row) for row in rows]

    def _of_row(self, examples: Examples, row: int) -> Prediction:
        record, key = examples.record(row), int(examples.image_ids[row])
        size = int(record['height']), int(record['width'])
        if self.kind == 'coco':
            logits = self._draw(self._instances.get(key, []), key, size)
        else:
            name = self._find(key, record['file_name'])
            if name is None:
                raise ValueError(f'{self._path} has no prediction for {record["file_name"]}.')
            read = self._read_png if self.kind == 'png' else self._read_array
            logits = read(self._files[name], size)
        features = self._embeddings[key] if self._embeddings else None
        return Prediction(logits, features)

    def _find(self, key: int, file_name: str) -> str | None:
        path = pathlib.PurePosixPath(file_name)
        names = (
            str(path.with_suffix('')),
            str(path),
            path.stem,
            path.name,
            str(key),
            f'{key:012d}',
            f'{path}-mask',  # of scripts/predict.py
            f'{path.name}-mask',
        )
        return next((name for name in names if name in self._files), None)

    def _read_png(self, path: pathlib.Path, size: tuple[int, int]) -> np.ndarray:
        try:
            with Image.open(path, formats=['PNG']) as file:
                mode = file.mode
                bits = _BITS.get(str(file.tile[0].args)) if file.tile else None
                numbers = np.asarray(file)
        except Exception as error:  # Pillow's decoders raise almost anything on damaged files.
            raise ValueError(f'{path} cannot be read as a PNG file: {error}') from error
        if mode not in _INDEX_MODES:
            raise ValueError(
                f'{path} has the mode {mode}: a prediction is an index PNG, with one channel that '
                'holds the number of a class.'
            )
        _check_size(path, numbers.shape[:2], size)
        numbers = numbers.astype(np.int64)
        if bits:  # Pillow has stretched 0 … 2^bits - 1 to 0 … 255
            numbers //= 255 // (2**bits - 1)
        adapters.check_numbers(self._adapter, numbers, self._mapping, str(path))
        return adapters.from_class_map(numbers, self._mapping, len(self._class_names))

    def _read_array(self, path: pathlib.Path, size: tuple[int, int]) -> np.ndarray:
        values = load_array(path)
        output, number = self._adapter.output, len(self._class_names)
        if values.dtype == np.bool_:
            values = values.astype(np.uint8)
        whole = np.issubdtype(values.dtype, np.integer)
        if not whole and not np.issubdtype(values.dtype, np.floating):
            raise ValueError(f'{path} holds {values.dtype}, not numbers.')
        if not np.isfinite(values).all():
            raise ValueError(f'{path} has NaN or infinity.')
        while values.ndim > 2 and 1 in (values.shape[0], values.shape[-1]):
            values = values[0] if values.shape[0] == 1 else values[..., 0]
        if values.ndim == 2:
            form = output.form if output else 'class map' if whole else 'single probability'
        elif values.ndim == 3:
            form = output.form if output else 'probabilities'
            if output and output.layout.endswith('HWC'):
                first = False
            elif output and output.layout.endswith('CHW'):
                first = True
            else:
                # Whichever axes have the proportions of the image.
                first = _fits(values.shape[1:], size)
                if first and _fits(values.shape[:2], size):
                    raise ValueError(
                        f'{path} has the shape {values.shape}, which may be [classes, height, '
                        'width] or [height, width, classes]: give "output.layout" in an adapter.'
                    )
            values = np.moveaxis(values, 0, -1) if first else values
        else:
            raise ValueError(f'{path} has the shape {values.shape}, not [classes, height, width].')
        if (values.ndim == 2) != (form in _PLANES):
            raise ValueError(
                f'{path} has the shape {values.shape}, but "output.form" of the adapter is '
                f'{form!r}, which has {2 if form in _PLANES else 3} axes.'
            )
        if not _fits(values.shape[:2], size):
            _check_size(path, values.shape[:2], size)
        probable = form in ('probabilities', 'single probability')
        if probable and (values.min() < -1e-3 or values.max() > 1.001):
            raise ValueError(
                f'{path} has values {values.min():.3g} … {values.max():.3g}: these are no '
                'probabilities. For logits, give "output.form" in an adapter.'
            )
        channels = None if form == 'class map' else 2 if form in _PLANES else values.shape[-1]
        mapping = adapters.class_of_channel(self._adapter, self._class_names, channels)
        if form == 'class map':
            adapters.check_numbers(self._adapter, values, mapping, str(path))
        threshold = output.threshold if output else None
        return adapters.to_logits(values, form, threshold, mapping, number)

    def _draw(
        self, instances: Sequence[dict[str, Any]], key: int, size: tuple[int, int]
    ) -> np.ndarray:
        """The instances of an image above the score threshold, the most certain on top."""
        classes = np.zeros(size, np.int64)
        for entry in sorted(instances, key=lambda entry: entry['score']):
            value = self._category_to_class.get(entry['category_id'], 0)
            if not value or entry['score'] < self._adapter.score_threshold:
                continue
            segmentation = entry['segmentation']
            given = segmentation.get('size') if isinstance(segmentation, dict) else None
            if given is not None and given != list(size):
                raise ValueError(
                    f'{self._path} has a mask of {given} [height, width] for image {key}, which is '
                    f'{list(size)}: these are predictions for another size.'
                )
            try:
                rle, _ = annotations.encode_segmentation(segmentation, *size)
            except Exception as error:  # The parser has no class of its own for callers.
                raise ValueError(
                    f'{self._path} has a mask for image {key} that cannot be read: {error}'
                ) from error
            mask = mask_utils.decode({'size': list(size), 'counts': rle}).astype(np.bool_)
            classes[mask] = value
        number = len(self._class_names)
        return adapters.from_class_map(classes, np.arange(number), number)


def _some(values: Sequence[Any]) -> str:
    return ', '.join(map(str, values[:_NAMED])) + (', …' if len(values) > _NAMED else '')


def _check_size(path: pathlib.Path, found: Sequence[int], size: Sequence[int]) -> None:
    if tuple(found) != tuple(size):
        raise ValueError(
            f'{path} is {found[0]}×{found[1]} (height × width), but the image is '
            f'{size[0]}×{size[1]}: these are predictions for another size.'
        )


def _fits(shape: Sequence[int], size: Sequence[int]) -> bool:
    """Whether an array has an image's size, or a smaller one of its proportions."""
    steps = [whole / part for whole, part in zip(size, shape, strict=True)]
    return (
        min(steps) >= 1
        and max(abs(part - whole / min(steps)) for whole, part in zip(size, shape, strict=True))
        <= 1
    )


def files_within(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files below a folder, sorted, without links that lead out of it."""
    return sorted(p for p in folder.rglob('*') if p.is_file() and is_within(p, folder))


def _list_files(folder: pathlib.Path) -> tuple[str, dict[str, pathlib.Path]]:
    """The kind of predictions in a folder, and its files by relative name without suffix."""
    files: dict[str, dict[str, pathlib.Path]] = {'png': {}, 'npy': {}}
    for path in files_within(folder):
        kind = path.suffix[1:].lower()
        if kind in files:
            files[kind][path.relative_to(folder).with_suffix('').as_posix()] = path
    found = [kind for kind, paths in files.items() if paths]
    if len(found) != 1:
        what = 'both .png and .npy files' if found else 'neither .png nor .npy files'
        raise ValueError(
            f'{folder} has {what}: predictions are index PNGs, or arrays of probabilities.'
        )
    return found[0], files[found[0]]


def _read_results(path: pathlib.Path) -> dict[int, list[dict[str, Any]]]:
    """COCO results by image id.

    Raises:
      ValueError: the file is not a list of results.
    """
    try:
        entries = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error
    if isinstance(entries, dict):
        entries = entries.get('annotations')
    if not isinstance(entries, list):
        raise ValueError(
            f'{path} is not in the format of COCO results: a list of image_id, category_id, '
            'segmentation and score.'
        )
    result: dict[int, list[dict[str, Any]]] = {}
    for place, entry in enumerate(entries):
        try:
            key, category = entry['image_id'], entry['category_id']
            score, mask = entry.get('score', 1.0), entry['segmentation']
            numbers = type(key) is int and type(category) is int and type(score) in (int, float)
            good = numbers and math.isfinite(score)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'Entry {place} of {path} is no COCO result ({error!r}): it needs image_id, '
                'category_id and segmentation.'
            ) from error
        if not good:
            raise ValueError(f'Entry {place} of {path} has an id or score that is not a number.')
        result.setdefault(key, []).append(
            {'category_id': category, 'segmentation': mask, 'score': float(score)}
        )
    return result
