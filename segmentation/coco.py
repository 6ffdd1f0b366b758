"""COCO instances as a tfds data set: original image bytes, and masks as run lengths.

Two sources go through the same builder: the official COCO 2014 zip files, and any folder in COCO's
layout (`<split>/*.jpg`, `annotations/instances_<split>.json`). Since instances rather than class
maps are stored, one prepared data set serves every label space (see `labels`).

`prepare` makes a data set or finds the one that was made before; `open_prepared` opens it by its
path alone. A data set lives in `<data_dir>/coco_instances/<name>/<version>` and can be moved.

An image is kept when it can be decoded to the end and its annotations' (width, height) are either
the file's raw size — then its pixels are used as stored — or its size after applying its EXIF
orientation — then the reader must apply it. Anything else is left out and counted by reason.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
import tqdm
from absl import logging
from array_record.python import array_record_module
from tensorflow_datasets.core import splits as tfds_splits

from segmentation import annotations as annotations_lib
from segmentation import labels

# Pillow also knows formats that run programs, so its `open` should be given these. (It may then
# find that one of them is not loaded yet, unless all are.)
IMAGE_FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF', 'TIFF')
PIL.Image.init()

VERSION = '1.0.0'
_NAME = 'coco_instances'
_METADATA = 'coco.json'
_URL = 'http://images.cocodataset.org/'
_MAX_FILE_BYTES = 2**28
_MAX_SHARD_BYTES = 2**28
_EXIF_ORIENTATION = 0x0112


@dataclasses.dataclass
class CocoConfig(tfds.core.BuilderConfig):
    """Where a data set comes from.

    Attributes:
      folder: in COCO's layout; empty for the official zip files of COCO 2014.
      splits: names of the splits.
      complete: split → names of the categories or super-categories of which every instance is
        annotated in every image; a split that is absent says nothing about it.
    """

    folder: str = ''
    splits: tuple[str, ...] = ()
    complete: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CocoIndex:
    """What is known of each image of a split without reading it, by increasing image id.

    Attributes:
      image_id: int64 [N].
      file_name: str [N].
      height: int64 [N], pixels, as annotated.
      width: int64 [N].
      counts: int32 [N, K], annotations per category, crowd regions included.
      complete: bool [N, K], whether every instance of the category is annotated.
      complete_known: bool [N], whether `complete` means anything for the image.
    """

    image_id: np.ndarray
    file_name: np.ndarray
    height: np.ndarray
    width: np.ndarray
    counts: np.ndarray
    complete: np.ndarray
    complete_known: np.ndarray


class _Metadata(tfds.core.Metadata):
    """Categories, fingerprint and skip report (JSON), and the index of each split (npz)."""

    def __init__(self):
        super().__init__()
        self.indexes: dict[str, CocoIndex] = {}

    def save_metadata(self, data_dir):
        folder = pathlib.Path(data_dir)
        for split, index in self.indexes.items():
            np.savez_compressed(folder / f'index_{split}.npz', **vars(index))
        (folder / _METADATA).write_text(json.dumps(self, indent=1))

    def load_metadata(self, data_dir):
        self.update(json.loads((pathlib.Path(data_dir) / _METADATA).read_text()))


class CocoInstances(tfds.core.GeneratorBasedBuilder):
    """Builds the data set; use `prepare`, which also finds it again."""

    VERSION = tfds.core.Version(VERSION)
    name = _NAME
    # The checksums of COCO come with tfds. Looking for more beside this file would make tfds import
    # a package (importlib_resources) that it does not depend on.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        def column(dtype, *shape):
            return tfds.features.Tensor(shape=(None, *shape), dtype=dtype)

        # Flat columns, because tfds reads a sequence of dictionaries twice as slowly.
        return tfds.core.DatasetInfo(
            builder=self,
            description='COCO images as stored in their files, with instances as run lengths.',
            homepage='https://cocodataset.org',
            disable_shuffling=True,
            metadata=_Metadata(),
            features=tfds.features.FeaturesDict({
                'image': tfds.features.Image(),
                'image/id': np.int64,
                'file_name': tfds.features.Text(),
                'height': np.int64,
                'width': np.int64,
                'license': tfds.features.Text(),
                'instances': {
                    'id': column(np.int64),
                    'category_id': column(np.int64),
                    'area': column(np.float32),
                    'bbox': column(np.float32, 4),
                    'is_crowd': column(np.bool_),
                    'rle': column(np.bytes_),
                },
                'complete_known': np.bool_,
                'complete_category_ids': column(np.int64),
            }),
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        config = self.builder_config
        if config.folder:
            sources = {
                split: _FolderSource(pathlib.Path(config.folder), split) for split in config.splits
            }
        else:
            archives = dl_manager.download({
                'annotations': f'{_URL}annotations/annotations_trainval2014.zip',
                **{split: f'{_URL}zips/{split}2014.zip' for split in config.splits},
            })
            sources = {
                split: _ZipSource(archives['annotations'], archives[split], f'{split}2014')
                for split in config.splits
            }
        # All annotations are read before the first image, so that mistakes show at once.
        parsed = {
            split: annotations_lib.parse(source.annotations(), source.annotations_name, True)
            for split, source in sources.items()
        }
        first, *others = parsed
        categories = parsed[first].categories
        for split in others:
            if set(parsed[split].categories) != set(categories):
                raise ValueError(
                    f'The splits {first!r} and {split!r} of {self.builder_config.name!r} do not '
                    'have the same categories; prepare them as separate data sets (splits=…)'
                )
        complete = {
            split: labels.category_ids(names, categories)
            for split, names in config.complete.items()
        }
        if not config.folder:
            complete = {split: [c.id for c in categories] for split in config.splits}
        self.info.metadata['categories'] = [dataclasses.asdict(c) for c in categories]
        return {
            split: self._generate_examples(
                split, parsed[split], source.read, complete.get(split)
            )
            for split, source in sources.items()
        }

    def _generate_examples(
        self,
        split: str,
        annotations: annotations_lib.Annotations,
        read: Callable[[str], bytes],
        complete: Sequence[int] | None,
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        column = {c['id']: k for k, c in enumerate(self.info.metadata['categories'])}
        skipped = annotations.skipped
        digest = hashlib.sha256()
        kept, counts, is_complete, is_known = [], [], [], []
        for image, data, reason in _read_images(annotations.images, read, split):
            if reason:
                skipped.add(f'image: {reason}', image.file_name)
                continue
            digest.update(data)
            known = sorted(column) if image.all_categories_annotated else complete
            kept.append(image)
            counts.append(np.bincount(
                [column[instance.category_id] for instance in image.instances],
                minlength=len(column),
            ))
            is_complete.append(np.isin(list(column), known or ()))
            is_known.append(known is not None)
            yield image.id, _example(image, data, known)
        if not kept:
            raise ValueError(
                f'No image of split {split!r} can be used: {json.dumps(skipped.as_dict())}'
            )
        self.info.metadata.indexes[split] = CocoIndex(
            image_id=np.array([image.id for image in kept], np.int64),
            file_name=np.array([image.file_name for image in kept], np.str_),
            height=np.array([image.height for image in kept], np.int64),
            width=np.array([image.width for image in kept], np.int64),
            counts=np.array(counts, np.int32),
            complete=np.array(is_complete, np.bool_),
            complete_known=np.array(is_known, np.bool_),
        )
        self.info.metadata.setdefault('skipped', {})[split] = skipped.as_dict()
        self.info.metadata.setdefault('fingerprint', {})[split] = _with_id({
            'split': split,
            'source': pathlib.Path(self.builder_config.folder).name or '2014',
            'annotations_sha256': annotations.sha256,
            'images_sha256': digest.hexdigest(),
            'images': len(kept),
            'instances': sum(len(image.instances) for image in kept),
            'complete': None if complete is None else sorted(complete),
            'skipped': {reason: entry['count'] for reason, entry in skipped.as_dict().items()},
        })

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        # tfds' own writer sorts the examples of a split, and beyond 1000 MiB does that in files
        # written by TensorFlow. Ours come in order and go straight into the shards.
        del download_config
        infos = [
            self._write_split(split, examples)
            for split, examples in self._split_generators(dl_manager).items()
        ]
        self.info.set_splits(tfds_splits.SplitDict(infos))
        metadata = self.info.metadata
        metadata['fingerprint'] = _with_id(
            {'version': VERSION, 'splits': metadata['fingerprint']}
        )

    def _write_split(self, split: str, examples: Iterator) -> tfds_splits.SplitInfo:
        folder = pathlib.Path(self.data_dir)
        lengths, sizes = [], []
        writer = None
        for _, example in examples:
            record = self.info.features.serialize_example(example)
            if writer is None or sizes[-1] + len(record) > _MAX_SHARD_BYTES:
                if writer:
                    writer.close()
                shard = folder / f'{split}-{len(lengths)}.unfinished'
                writer = array_record_module.ArrayRecordWriter(str(shard), 'group_size:1')
                lengths.append(0)
                sizes.append(0)
            writer.write(record)
            lengths[-1] += 1
            sizes[-1] += len(record)
        writer.close()
        template = self._get_filename_template(split)
        for i in range(len(lengths)):
            (folder / f'{split}-{i}.unfinished').rename(
                template.sharded_filepath(shard_index=i, num_shards=len(lengths))
            )
        return tfds_splits.SplitInfo(
            name=split,
            shard_lengths=lengths,
            num_bytes=sum(sizes),
            filename_template=template,
        )


def _example(
    image: annotations_lib.Image, data: bytes, complete: Sequence[int] | None
) -> dict[str, Any]:
    def column(name, dtype):
        return np.array([getattr(instance, name) for instance in image.instances], dtype)

    return {
        'image': io.BytesIO(data),
        'image/id': image.id,
        'file_name': image.file_name,
        'height': image.height,
        'width': image.width,
        'license': image.license,
        'instances': {
            'id': column('id', np.int64),
            'category_id': column('category_id', np.int64),
            'area': column('area', np.float32),
            'bbox': column('bbox', np.float32).reshape(-1, 4),
            'is_crowd': column('is_crowd', np.bool_),
            'rle': column('rle', object),
        },
        'complete_known': complete is not None,
        'complete_category_ids': np.array(complete or (), np.int64),
    }


class UnusableImage(Exception):
    """Why an image is left out; the message is the reason it is counted under."""


class _FolderSource:
    """One split of a folder in COCO's layout."""

    def __init__(self, folder: pathlib.Path, split: str):
        self.annotations_path = folder / 'annotations' / f'instances_{split}.json'
        self.annotations_name = str(self.annotations_path)
        self.images = folder / split
        if not self.images.is_dir():
            raise ValueError(
                f'{folder} has annotations/instances_{split}.json but no folder {split!r} with '
                'the images'
            )
        # The image folder itself may be a link; its files must not lead out of it.
        self._root = self.images.resolve()

    def annotations(self) -> bytes:
        return self.annotations_path.read_bytes()

    def read(self, file_name: str) -> bytes:
        path = (self._root / file_name).resolve()
        if not path.is_relative_to(self._root):
            raise UnusableImage('link out of the image folder')
        try:
            # Opening anything else, such as a pipe, could wait forever.
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise UnusableImage('not a regular file')
            if status.st_size > _MAX_FILE_BYTES:
                raise UnusableImage('file too large')
            return path.read_bytes()
        except FileNotFoundError as error:
            raise UnusableImage('missing file') from error


class _ZipSource:
    """One split of the official zip files, which are read in place."""

    def __init__(self, annotations: os.PathLike, images: os.PathLike, name: str):
        self.annotations_name = f'annotations/instances_{name}.json'
        self._annotations = annotations
        self._images = zipfile.ZipFile(images)
        self._prefix = name

    def annotations(self) -> bytes:
        with zipfile.ZipFile(self._annotations) as archive:
            return archive.read(self.annotations_name)

    def read(self, file_name: str) -> bytes:
        try:
            info = self._images.getinfo(f'{self._prefix}/{file_name}')
        except KeyError as error:
            raise UnusableImage('missing file') from error
        if info.file_size > _MAX_FILE_BYTES:
            raise UnusableImage('file too large')
        return self._images.read(info)


def _read_images(
    images: Sequence[annotations_lib.Image], read: Callable[[str], bytes], split: str
) -> Iterator[tuple[annotations_lib.Image, bytes, str]]:
    """Yields each image with its bytes and the reason, if any, why it cannot be used, in order."""

    def load(image):
        try:
            data = read(image.file_name)
            check_image(data, image.width, image.height)
        except UnusableImage as unusable:
            return image, b'', str(unusable)
        except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error):
            return image, b'', 'file cannot be read'
        return image, data, ''

    workers = os.cpu_count() or 1
    pending = collections.deque()
    bar = tqdm.tqdm(total=len(images), desc=split, unit=' images', mininterval=1)
    with bar, concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for image in images:
                pending.append(pool.submit(load, image))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
                    bar.update()
            while pending:
                yield pending.popleft().result()
                bar.update()
        finally:
            for future in pending:
                future.cancel()


def check_image(data: bytes, width: int, height: int) -> None:
    """Decodes an image file to the end and compares its size with the annotated one.

    Raises:
      UnusableImage: with the reason; see the module's docstring for the rule.
    """
    try:
        with PIL.Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            size = image.size
            if not annotations_lib.is_bounded(*size):
                raise UnusableImage('too large')
            if size != (width, height):
                turned = image.getexif().get(_EXIF_ORIENTATION) in (5, 6, 7, 8)
                if not turned or size != (height, width):
                    raise UnusableImage('size mismatch')
            image.load()
    except UnusableImage:
        raise
    except PIL.UnidentifiedImageError as error:
        raise UnusableImage('not an image') from error
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise UnusableImage('too large') from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files.
        raise UnusableImage('damaged or truncated image') from error


def _with_id(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Adds a short hash over everything else as `id`."""
    text = json.dumps(fingerprint, sort_keys=True)
    return {**fingerprint, 'id': hashlib.sha256(text.encode()).hexdigest()[:12]}


def _damaged(path: pathlib.Path, what: str) -> str:
    return f'{path} is damaged ({what}); delete it and prepare the data again'


class CocoSplit:
    """Random access to one split, in image-id order; safe to use from many threads.

    Attributes:
      name: of the split.
      index: `CocoIndex` of its images.
      categories: of the data set.
      fingerprint: of the split.
    """

    def __init__(self, path, name, source, index, categories, fingerprint):
        self._path = path
        self.name = name
        self.index: CocoIndex = index
        self.categories: tuple[annotations_lib.Category, ...] = categories
        self.fingerprint: dict[str, Any] = fingerprint
        self._source = source

    def __len__(self) -> int:
        return len(self.index.image_id)

    def __getitem__(self, i: int) -> dict[str, Any]:
        """Reads one record.

        Returns:
          `image` (bytes of the file), `image/id`, `height`, `width` (int), `file_name`, `license`
          (str), `instances` in annotation order: `id`, `category_id` (int64 [n]), `area` (float32
          [n]), `bbox` (float32 [n, 4]), `is_crowd` (bool [n]), `rle` (bytes [n]); and
          `complete_known` (bool), `complete_category_ids` (int64 [k]).

        Raises:
          IndexError: there is no such record.
          ValueError: the file is damaged.
        """
        if not 0 <= i < len(self):
            raise IndexError(f'split {self.name!r} has {len(self)} images, there is no {i}')
        try:
            record = self._source[i]
        except Exception as error:  # What the libraries below raise on damage is not documented.
            what = f'record {i} of {self.name!r}: {error}'
            raise ValueError(_damaged(self._path, what)) from error
        # A shard that was cut short can give an empty record.
        if record['image/id'] != self.index.image_id[i]:
            raise ValueError(_damaged(self._path, f'record {i} of {self.name!r} is another one'))
        record['file_name'] = record['file_name'].decode()
        record['license'] = record['license'].decode()
        record['instances']['bbox'] = record['instances']['bbox'].reshape(-1, 4)
        return record


class Prepared:
    """A prepared data set.

    Attributes:
      path: its directory, all that is needed to open it again.
      splits: names of the splits.
      categories: in the order of the columns of `CocoIndex`.
      fingerprint: `version` of the builder, `splits` (where each came from and what was kept) and
        `id`, 12 hexadecimal digits of a hash over both.
      skipped: split → reason → count and examples of what was left out or repaired.
    """

    def __init__(self, path: pathlib.Path, metadata: dict[str, Any]):
        self.path = path
        self.splits: tuple[str, ...] = tuple(metadata['fingerprint']['splits'])
        self.categories = tuple(
            annotations_lib.Category(**entry) for entry in metadata['categories']
        )
        self.fingerprint: dict[str, Any] = metadata['fingerprint']
        self.skipped: dict[str, dict[str, Any]] = metadata['skipped']

    def split(self, name: str) -> CocoSplit:
        """Opens a split.

        Raises:
          ValueError: there is no such split, or its files are damaged.
        """
        if name not in self.splits:
            raise ValueError(f'{self.path} has no split {name!r}, only {", ".join(self.splits)}')
        fingerprint = self.fingerprint['splits'][name]
        try:
            with np.load(self.path / f'index_{name}.npz', allow_pickle=False) as arrays:
                index = CocoIndex(**arrays)
            source = tfds.builder_from_directory(self.path).as_data_source(
                name, decoders={'image': tfds.decode.SkipDecoding()}
            )
        except Exception as error:  # What the libraries below raise on damage is not documented.
            raise ValueError(_damaged(self.path, f'split {name!r}: {error!r}')) from error
        if not len(source) == len(index.image_id) == fingerprint['images']:
            raise ValueError(_damaged(self.path, f'split {name!r} has a wrong number of images'))
        return CocoSplit(self.path, name, source, index, self.categories, fingerprint)


def open_prepared(path: str | os.PathLike) -> Prepared:
    """Opens a data set that `prepare` made; its source is not needed any more.

    Raises:
      ValueError: there is none at this path, or one of another version.
    """
    path = pathlib.Path(path)
    try:
        prepared = Prepared(path, json.loads((path / _METADATA).read_text()))
        version = prepared.fingerprint['version']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} is not a prepared data set (no readable {_METADATA}: {error!r}); give the '
            'path that scripts/prepare_coco.py printed'
        ) from error
    if version != VERSION:
        raise ValueError(f'{path} was prepared by version {version} of this code, which now has '
                         f'{VERSION}; prepare the data again')
    return prepared


def prepare(
    source: str,
    data_dir: str | os.PathLike,
    *,
    complete: Mapping[str, Sequence[str]] | None = None,
    splits: Sequence[str] | None = None,
    scenes: Mapping[str, int] | None = None,
) -> Prepared:
    """Prepares a data set, or opens it when it was prepared from the same files before.

    A folder is known by its base name and a hash of its annotation files, of the names and sizes
    of its image files, and of the options: after a change it is prepared anew, beside the old one.
    An interrupted preparation leaves nothing that could be believed, and starts again. What was
    left out or repaired is printed.

    Args:
      source: '2014' for the official COCO 2014 (downloads 20 GB; zip files already at hand go into
        `<data_dir>/downloads/manual/`), 'scenes' for scenes drawn by this project, else a folder
        in COCO's layout ('./2014' for a folder of that name).
      data_dir: where prepared data sets live.
      complete: split → names of the categories or super-categories (a name that is both means the
        category) that are completely annotated in all of its images. An image that says
        `all_categories_annotated` needs none. COCO 2014 counts as completely annotated.
      splits: which to prepare; default all, for a folder those with an annotation file.
      scenes: what 'scenes' draws, e.g. {'train': 800, 'val': 200, 'seed': 0}: images per split,
        and the seed. Not read for other sources.

    Raises:
      ValueError: the source is not in COCO's layout, or an option does not fit it.
    """
    data_dir = pathlib.Path(data_dir).expanduser().absolute()
    if source == 'scenes':
        source = _draw_scenes(data_dir, scenes or {})
    if source == '2014':
        if complete:
            raise ValueError('COCO 2014 is completely annotated: complete=… is for folders')
        config = _config_2014(splits)
    else:
        config = _config_folder(pathlib.Path(source).expanduser(), splits, complete or {})
    path = data_dir / _NAME / config.name / VERSION
    if not path.exists():
        with _locked(data_dir):
            if not path.exists():  # Another process may have prepared it meanwhile.
                _build(config, data_dir, path)
    prepared = open_prepared(path)
    if report := skip_report(prepared):
        print(report)
    return prepared


def _draw_scenes(data_dir: pathlib.Path, scenes: Mapping[str, int]) -> str:
    from segmentation import scenes as scenes_lib  # Only this source needs the drawing code.

    counts = dict(scenes)
    seed = counts.pop('seed', 0)
    if not counts:
        raise ValueError("Source 'scenes' needs scenes={'train': …, 'val': …, 'seed': …}")
    sizes = '-'.join(f'{split}{count}' for split, count in counts.items())
    folder = data_dir / f'scenes-{sizes}-seed{seed}'
    with _locked(data_dir):
        scenes_lib.write_scenes(folder, counts, seed=seed)
    return str(folder)


def _config_2014(splits: Sequence[str] | None) -> CocoConfig:
    chosen = tuple(splits or ('train', 'val'))
    if unknown := set(chosen) - {'train', 'val'}:
        raise ValueError(f'COCO 2014 has the splits train and val, not {sorted(unknown)}')
    name = '2014' if len(chosen) == 2 else f'2014-{chosen[0]}'
    return CocoConfig(name=name, splits=chosen)


def _config_folder(
    folder: pathlib.Path, splits: Sequence[str] | None, complete: Mapping[str, Sequence[str]]
) -> CocoConfig:
    folder = folder.resolve()
    if not folder.is_dir():
        raise ValueError(f"{folder} is neither a folder nor one of '2014', 'scenes'")
    found = sorted(
        path.stem.removeprefix('instances_')
        for path in (folder / 'annotations').glob('instances_*.json')
    )
    chosen = tuple(splits or found)
    if not chosen:
        raise ValueError(f'{folder} has no annotations/instances_<split>.json')
    if missing := set(chosen) - set(found):
        raise ValueError(f'{folder} has no annotations/instances_<split>.json for '
                         f'{sorted(missing)}, only for {found}')
    for split in chosen:
        if not re.fullmatch(r'[A-Za-z0-9_]+', split) or split == 'all':
            raise ValueError(f'The split name {split!r} cannot be used: rename the split to '
                             "letters, digits and '_' (and not 'all')")
    if unknown := set(complete) - set(chosen):
        raise ValueError(f'complete names {sorted(unknown)}, but the splits are {list(chosen)}')
    complete = {split: sorted(names) for split, names in complete.items()}
    state = [VERSION, sorted(complete.items())]
    for split in chosen:
        source = _FolderSource(folder, split)
        annotations = hashlib.sha256(source.annotations()).hexdigest()
        state.append([split, annotations, _files(source.images)])
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:8]
    base = re.sub(r'[^A-Za-z0-9_]+', '-', folder.name)[:40]
    return CocoConfig(
        name=f'{base}-{digest}', folder=str(folder), splits=chosen, complete=complete
    )


def _files(folder: pathlib.Path) -> list[tuple[str, int]]:
    """Names and sizes of all files below a folder."""
    return sorted(
        (os.path.relpath(entry, folder), os.lstat(entry).st_size)
        for parent, _, names in os.walk(folder)
        for entry in (os.path.join(parent, name) for name in names)
    )


@contextlib.contextmanager
def _locked(data_dir: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time change `data_dir`; the system ends the lock with the process."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f'Waiting for another process that prepares data in {data_dir} …')
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(config: CocoConfig, data_dir: pathlib.Path, path: pathlib.Path) -> None:
    leftovers = [
        *path.parent.glob('incomplete.*'),
        *(data_dir / 'downloads' / _NAME).glob('**/*.tmp.*'),
    ]
    for leftover in leftovers:
        shutil.rmtree(leftover)
    if leftovers:
        print(f'An earlier preparation of {config.name} was interrupted; starting again.')
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # tfds warns that the configuration is our own,
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # and announces what is said better below.
            builder = CocoInstances(config=config, data_dir=data_dir, file_format='array_record')
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(
                    try_download_gcs=False, force_checksums_validation=True
                )
            )
    finally:
        logging.set_verbosity(verbosity)


def skip_report(prepared: Prepared) -> str:
    """Returns lines that say what was left out or repaired, by split and reason; may be empty."""
    lines = []
    for split, reasons in prepared.skipped.items():
        for reason, entry in reasons.items():
            examples = ', '.join(map(str, entry['examples']))
            lines.append(f'{split}: {entry["count"]} × {reason} (e.g. {examples})')
    return '\n'.join(lines)
