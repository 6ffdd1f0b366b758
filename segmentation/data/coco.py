"""COCO instances as a tfds data set: original image bytes, and masks as run lengths.

`prepare` builds a data set or finds an earlier one, and `open_prepared` opens it by its path alone.
A data set is a folder `<data_dir>/coco_instances/<name>/<version>` and can be moved.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation import buckets
from segmentation.data import annotations as annotations_lib
from segmentation.data import (
    coco_files,
    entries,
    image_files,
    label_spaces,
    layouts,
    split_names,
)
from segmentation.data.coco_index import (
    METADATA,
    NAME,
    READER,
    VERSION,
    CocoIndex,
    metadata_sha256,
    staging,
)
from segmentation.files import sha256

if TYPE_CHECKING:
    from segmentation.data.coco_builder import CocoConfig


def _damaged(path: pathlib.Path, what: str) -> str:
    return f'{path} is damaged ({what}); delete it and prepare the data again'


class UnreadableRecord(ValueError):
    """A record that cannot be read; says why and what to do, unlike the errors of tfds."""


@dataclasses.dataclass(frozen=True, eq=False)
class CocoSplit:
    """Random access to one split, ordered by image id; safe to use from many threads."""

    path: pathlib.Path  # of the data set
    name: str  # of the split
    source: Sequence[dict[str, Any]]  # its records, as tfds reads them
    index: CocoIndex  # what is known of its images without reading them
    categories: tuple[annotations_lib.Category, ...]  # of the data set
    fingerprint: dict[str, Any]  # of the split

    def __len__(self) -> int:
        return len(self.index.image_id)

    def __getitem__(self, i: int) -> dict[str, Any]:
        """Reads one record.

        Returns:
          `image` (bytes of the file); `image/id`, `height` and `width` (int); `file_name` and
          `license` (str); `instances`, in the order of the annotation file: `id` and `category_id`
          (int64 `[n]`), `area` (float32 `[n]`, pixels), `bbox` (float32 `[n, 4]`: x, y, width,
          height in pixels), `is_crowd` (bool `[n]`) and `rle` (bytes `[n]`); `complete_known`
          (bool) and `complete_category_ids` (int64 `[k]`).

        Raises:
          IndexError: there is no such record.
          ValueError: the file is damaged.
        """
        if not 0 <= i < len(self):
            raise IndexError(f'split {self.name!r} has {len(self)} images, there is no {i}')
        try:
            record = self.source[i]
        except UnreadableRecord:
            raise
        except Exception as error:  # tfds does not document what it raises on damage
            what = f'record {i} of {self.name!r}: {error}'
            raise ValueError(_damaged(self.path, what)) from error
        # A truncated shard can give an empty record.
        if record['image/id'] != self.index.image_id[i]:
            raise ValueError(
                _damaged(self.path, f'record {i} of {self.name!r} has another image id')
            )
        record['file_name'] = record['file_name'].decode()
        record['license'] = record['license'].decode()
        record['instances']['bbox'] = record['instances']['bbox'].reshape(-1, 4)
        return record


class Prepared:
    """A prepared data set.

    Attributes:
      path: its folder.
      splits: names of the splits.
      categories: in the order of the columns of `CocoIndex`.
      fingerprint: `version` of the builder, `splits` (the source and content of each) and `id`, 12
        hexadecimal digits of a hash of both.
      skipped: split → reason → count and examples of what was left out or repaired.
      notes: the same of what was read as it is, but may be meant otherwise.
      layout: title of the layout that its folder had; '' if there was none.
    """

    def __init__(self, path: pathlib.Path, metadata: dict[str, Any]):
        self.path = path
        self.splits: tuple[str, ...] = tuple(metadata['fingerprint']['splits'])
        self.categories = tuple(annotations_lib.Category(**c) for c in metadata['categories'])
        self.fingerprint: dict[str, Any] = metadata['fingerprint']
        self.skipped: dict[str, dict[str, Any]] = metadata['skipped']
        self.notes: dict[str, dict[str, Any]] = metadata.get('notes', {})
        self.layout: str = metadata.get('layout', '')
        # Shards have checksums of their own. Older data sets have no digests.
        self._digests: dict[str, str] = metadata.get('files', {})

    def resolve(self, name: str) -> str:
        """The split that a name means: itself, or 'valid' for 'val', 'train2017' for 'train' …

        Raises:
          ValueError: there is no such split; names those that there are.
        """
        return split_names.resolve(name, self.splits, str(self.path))

    def split(self, name: str) -> CocoSplit:
        """Opens a split, also by another usual name (see `resolve`).

        Raises:
          ValueError: there is no such split, or its files are damaged.
        """
        import tensorflow_datasets as tfds  # as in `prepare`

        name = self.resolve(name)
        fingerprint = self.fingerprint['splits'][name]
        try:
            for file in ('features.json', f'index_{name}.npz'):
                if file in self._digests and sha256(self.path / file) != self._digests[file]:
                    raise ValueError(f'{file} has changed')
            with np.load(self.path / f'index_{name}.npz', allow_pickle=False) as arrays:
                index = CocoIndex(**arrays)
            source = tfds.builder_from_directory(self.path).as_data_source(
                name, decoders={'image': tfds.decode.SkipDecoding()}
            )
        except Exception as error:  # tfds does not document what it raises on damage
            raise ValueError(_damaged(self.path, f'split {name!r}: {error!r}')) from error
        if not len(source) == len(index.image_id) == fingerprint['images']:
            raise ValueError(_damaged(self.path, f'split {name!r} has a wrong number of images'))
        return CocoSplit(self.path, name, source, index, self.categories, fingerprint)


def open_prepared(path: str | os.PathLike) -> Prepared:
    """Opens a prepared data set; its source is no longer needed.

    Raises:
      ValueError: there is none at this path, or it is damaged or of another version.
    """
    path = pathlib.Path(path)
    try:
        metadata = json.loads((path / METADATA).read_text())
        prepared = Prepared(path, metadata)
        version = prepared.fingerprint['version']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} is not a prepared data set (no readable {METADATA}: {error!r}); give the '
            'path that scripts/prepare_coco.py printed'
        ) from error
    if version != VERSION:
        raise ValueError(
            f'{path} was prepared by version {version} of this code, which now has '
            f'{VERSION}; prepare the data again'
        )
    if metadata.get('sha256') not in (None, metadata_sha256(metadata)):
        raise ValueError(_damaged(path, f'{METADATA} has changed'))
    return prepared


def prepare(
    source: str,
    data_dir: str | os.PathLike,
    *,
    complete: Mapping[str, Sequence[str]] | None = None,
    splits: Sequence[str] | None = None,
    scenes: Mapping[str, float] | None = None,
    layout: str | None = None,
    exif: str = 'displayed',
    crowds_as_instances: bool = False,
    accept_loss: bool = False,
) -> Prepared:
    """Prepares a data set, or opens it if it was prepared from the same files before.

    A folder is known again by its base name and a hash of its annotation files, of the names and
    sizes of its image files, and of the options. After a change it is prepared again, next to the
    old data set. An interrupted preparation checks the files again and goes on after its last
    finished shard. Prints the layout of the folder, and what is left out or repaired.

    Args:
      source: '2014' for the official COCO 2014 (downloads 20 GB, except for zip files that are
        already in `<data_dir>/downloads/manual/`), 'scenes' for scenes drawn by this project, a
        folder in one of the layouts of `segmentation.data.layouts` ('./2014' for a folder of that
        name), or a prepared data set, which is opened (also the URL of one in a bucket).
      data_dir: folder of the prepared data sets.
      complete: split → names of the categories or super-categories (a name that is both means the
        category) that are completely annotated in all images of the split. Not needed for images
        marked `all_categories_annotated`, nor for COCO 2014, which is completely annotated.
      splits: which to prepare; default all, for a folder those with an annotation file.
      scenes: only for 'scenes': the number of images per split and the seed, e.g. {'train': 800,
        'val': 200, 'seed': 0}. If 'planted' is true, the scenes have planted truth, and the
        fraction 'error_rate' (default 0.02) of the images has each kind of label error.
      layout: name of the layout, if several fit the folder.
      exif: for a folder: whether the annotations of an image whose size fits with and without its
        EXIF orientation refer to the image as 'displayed' (oriented) or as 'stored'.
      crowds_as_instances: for a folder: whether crowd regions are read as instances.
      accept_loss: whether to go on if most of a split is lost. Once it was accepted, the data set
        is opened without asking again.

    Raises:
      ValueError: no layout fits the source, an option does not fit it, or (`data_loss.DataLoss`)
        most of a split would be lost.
      OSError: the data set cannot be written; nothing of it is kept.
    """
    if url := buckets.url_of(data_dir):
        raise ValueError(
            f'{url}: data are prepared in a local data_dir. Copy the prepared data set, '
            f'<data_dir>/{NAME}/…, to the bucket, and give its URL as the source.'
        )
    data_dir = pathlib.Path(data_dir).expanduser().absolute()
    if exif not in image_files.EXIF_CHOICES:
        raise ValueError(f'exif must be one of {image_files.EXIF_CHOICES}, not {exif!r}')
    given = buckets.fetched(source, METADATA).expanduser()
    if source not in ('2014', 'scenes') and (given / METADATA).is_file():
        options = splits or layout or crowds_as_instances or exif != 'displayed'
        return _open_as_source(given, complete or {}, bool(options))
    if source == 'scenes':
        source = _draw_scenes(data_dir, scenes or {})
        given = pathlib.Path(source)
    if source == '2014':
        if complete:
            raise ValueError('COCO 2014 is completely annotated: complete=… is for folders')
        config = _config_2014(splits)
    else:
        config = _config_folder(
            given, data_dir, splits, complete or {}, layout, exif, crowds_as_instances
        )
        config.accept_loss = accept_loss
    path = data_dir / NAME / config.name / VERSION
    if not path.exists():
        from segmentation.data import coco_builder  # here, as tfds takes long to import

        if config.found:
            print(config.found)
        with _locked(data_dir):
            if not path.exists():  # another process may have prepared it meanwhile
                coco_builder.build(config, data_dir, path)
    # Here, as a process may have been killed right after it had put the data set into place.
    shutil.rmtree(staging(path), ignore_errors=True)
    prepared = open_prepared(path)
    if report := skip_report(prepared):
        print(report)
    return prepared


def _open_as_source(
    path: pathlib.Path, complete: Mapping[str, Sequence[str]], has_options: bool
) -> Prepared:
    prepared = open_prepared(path)
    for name, groups in complete.items():
        ids = sorted(label_spaces.category_ids(groups, prepared.categories))
        known = prepared.fingerprint['splits'][prepared.resolve(name)]['complete']
        has_options |= known is None or sorted(known) != ids
    if has_options:
        raise ValueError(f'{path} is prepared already, with other options: prepare the source')
    return prepared


def source_folder(
    source: str, data_dir: pathlib.Path, scenes: Mapping[str, Any]
) -> pathlib.Path | None:
    """The folder that a source means (see `prepare`), also of scenes; None for COCO 2014."""
    if source != 'scenes':
        return None if source == '2014' else pathlib.Path(source).expanduser()
    counts, seed, error_rate = _scene_options(scenes)
    sizes = '-'.join(f'{split}{count}' for split, count in counts.items())
    planted = '' if error_rate is None else f'-planted{error_rate:g}'
    return data_dir / f'scenes-{sizes}-seed{seed}{planted}'


def _scene_options(
    scenes: Mapping[str, Any],
) -> tuple[dict[str, int], int, float | None]:
    options = dict(scenes)
    seed, planted = int(options.pop('seed', 0)), options.pop('planted', False)
    error_rate = options.pop('error_rate', 0.02)
    counts = {split: int(count) for split, count in options.items()}
    return counts, seed, error_rate if planted else None


def _draw_scenes(data_dir: pathlib.Path, scenes: Mapping[str, float]) -> str:
    from segmentation import scenes as scenes_lib

    counts, seed, error_rate = _scene_options(scenes)
    folder = source_folder('scenes', data_dir, scenes)
    if not counts or folder is None:
        raise ValueError("Source 'scenes' needs scenes={'train': …, 'val': …, 'seed': …}")
    with _locked(data_dir):
        scenes_lib.write_scenes(folder, counts, seed, error_rate=error_rate)
    return str(folder)


def _config_2014(splits: Sequence[str] | None) -> 'CocoConfig':
    from segmentation.data.coco_builder import CocoConfig  # as in `prepare`

    chosen = tuple(splits or ('train', 'val'))
    if unknown := set(chosen) - {'train', 'val'}:
        raise ValueError(f'COCO 2014 has the splits train and val, not {sorted(unknown)}')
    name = '2014' if len(chosen) == 2 else f'2014-{chosen[0]}'
    return CocoConfig(name=name, splits=chosen)


def _config_folder(
    folder: pathlib.Path,
    data_dir: pathlib.Path,
    splits: Sequence[str] | None,
    complete: Mapping[str, Sequence[str]],
    layout: str | None,
    exif: str,
    crowds_as_instances: bool,
) -> 'CocoConfig':
    from segmentation.data.coco_builder import CocoConfig  # as in `prepare`

    if not folder.is_dir():
        hint = '; give the folder that holds it, unpacked' if folder.is_file() else ''
        raise ValueError(f"{folder} is neither a folder nor one of '2014', 'scenes'{hint}")
    found = layouts.recognize(folder, layout, ignore=[data_dir])
    by_name = split_names.usable(found.splits)
    names = [split_names.resolve(name, list(by_name), str(folder)) for name in splits or by_name]
    complete = {
        split_names.resolve(name, names, f'complete: {folder}'): sorted(groups)
        for name, groups in complete.items()
    }
    chosen = tuple(dict.fromkeys(names))
    found = dataclasses.replace(found, splits=tuple(by_name[name] for name in chosen))
    state: list[Any] = [VERSION, READER, found.layout.name, exif, crowds_as_instances]
    state.append(sorted(complete.items()))
    for name in chosen:
        split = by_name[name]
        places = [found.folder.root / place for place in split.folders]
        state.append([name, split.digest(found.folder), _files(places, data_dir)])
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:8]
    base = re.sub(r'[^A-Za-z0-9_]+', '-', folder.resolve().name)[:40]
    return CocoConfig(
        name=f'{base}-{digest}', found=found, splits=chosen, complete=complete, exif=exif,
        crowds_as_instances=crowds_as_instances,
    )  # fmt: skip


def _files(folders: Sequence[pathlib.Path], ignore: pathlib.Path) -> list[tuple[str, int]]:
    """Names and sizes of all files below folders; both may be links, which may lead nowhere."""
    return sorted(
        (
            os.path.relpath(path, folder.resolve()),
            path.stat(follow_symlinks=os.path.exists(path)).st_size,
        )
        for folder in folders
        for path in coco_files.files_below([folder.resolve()], ignore)
    )


@contextlib.contextmanager
def _locked(data_dir: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time change `data_dir`; a killed process loses the lock."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'Waiting for another process that prepares data in {data_dir} …')
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def skip_report(prepared: Prepared) -> str:
    """One line per split and reason for which something was left out, repaired or noted."""
    lines = [
        f'{split}: {mark}{entry["count"]} × {reason} (e.g. {entries.show_examples(entry)})'
        for mark, report in (('', prepared.skipped), ('NOTE: ', prepared.notes))
        for split, reasons in report.items()
        for reason, entry in reasons.items()
    ]
    return '\n'.join(lines)
