"""The tfds builder: turns COCO's files into array_record shards, indexes and a fingerprint."""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core import splits as tfds_splits
from tensorflow_datasets.proto import tf_example_pb2

from segmentation.data import annotations as annotations_lib
from segmentation.data import coco_files, data_loss, label_spaces, layouts, merging, shards
from segmentation.data.coco_index import (
    METADATA,
    NAME,
    READER,
    VERSION,
    CocoIndex,
    metadata_sha256,
    staging,
)
from segmentation.data.entries import Annotations, File, Image, Skipped, file_name
from segmentation.files import sha256

URL = 'http://images.cocodataset.org/'
MAX_SHARD_BYTES = 2**28

# Attributes of `annotations.Instance` that are stored, a value or a row per instance.
_COLUMNS: dict[str, tuple[Any, ...]] = {
    'id': (np.int64,), 'category_id': (np.int64,), 'area': (np.float32,), 'bbox': (np.float32, 4),
    'is_crowd': (np.bool_,), 'rle': (np.bytes_,),
}  # fmt: skip


@dataclasses.dataclass
class CocoConfig(tfds.core.BuilderConfig):
    """The source of a data set."""

    found: layouts.Found | None = None  # a folder; None for the official zip files of COCO 2014
    splits: tuple[str, ...] = ()  # names of the splits, for a folder in the order of `found`
    # Split → names of the categories or super-categories of which every instance is annotated in
    # every image; unknown for splits that are missing here.
    complete: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    exif: str = 'stored'  # what ambiguous EXIF orientations mean, see `image_files.fit`
    crowds_as_instances: bool = False  # whether crowd regions are read as instances
    accept_loss: bool = False  # whether to go on if most of a split is lost

    @property
    def source(self) -> str:
        """Base name of the folder, or '2014'."""
        return self.found.folder.root.name if self.found else '2014'


class _Metadata(tfds.core.Metadata):
    """Categories, fingerprint and skip report (JSON), and the index of each split (npz)."""

    def __init__(self) -> None:
        super().__init__()
        self.indexes: dict[str, CocoIndex] = {}

    def save_metadata(self, data_dir: Any) -> None:
        folder = pathlib.Path(data_dir)
        for split, index in self.indexes.items():
            np.savez_compressed(folder / f'index_{split}.npz', **vars(index))
        files = ['features.json', *(f'index_{split}.npz' for split in self.indexes)]
        self['files'] = {name: sha256(folder / name) for name in files}
        self['sha256'] = metadata_sha256(self)
        (folder / METADATA).write_text(json.dumps(self, indent=1))

    def load_metadata(self, data_dir: Any) -> None:
        self.update(json.loads((pathlib.Path(data_dir) / METADATA).read_text()))


@dataclasses.dataclass(frozen=True)
class Source:
    """One split before it is read."""

    title: str  # what error messages call its annotations
    sha256: str  # of the annotations
    document: Callable[[], dict[str, Any]]  # reads the annotations in COCO's form
    find: Callable[[Iterable[str]], dict[str, File]]  # finds image files by the names given there
    read: Callable[[str], bytes]  # reads an image file that was found


def folder_source(found: layouts.Found, split: layouts.Split, exif: str) -> Source:
    """One split of a recognized folder."""
    images = layouts.Images(found.folder, split.folders, exif)
    document = functools.partial(split.load, found.folder, split, images)
    title = str(found.folder.root / split.title()) if len(split.files) == 1 else split.title()
    return Source(
        title, split.digest(found.folder), document, images.source.find, images.source.read
    )


def read_source(
    source: Source, document: Mapping[str, Any], split: str, exif: str, crowds_as_instances: bool
) -> Annotations:
    """Checks the image files and the annotations of a split.

    Args:
      source: of the split.
      document: which `source.document()` returned.
      split: its name, for the progress bar.
      exif: see `image_files.fit`.
      crowds_as_instances: whether crowd regions are read as instances.

    Raises:
      ValueError: see `annotations.read`.
    """
    names = map(file_name, document['images'])
    found = source.find(dict.fromkeys(name for name in names if name))
    files = coco_files.check_files(found, source.read, split)
    annotations = annotations_lib.read(
        document, source.title, source.sha256, files, exif=exif,
        crowds_as_instances=crowds_as_instances, progress=True,
    )  # fmt: skip
    data_loss.note_categories(document, annotations)
    return annotations


class CocoInstances(tfds.core.GeneratorBasedBuilder):
    """Builds the data set; `build` calls it."""

    VERSION = tfds.core.Version(VERSION)
    name = NAME
    # The checksums of COCO come with tfds. To look for others here, tfds would import a package
    # (importlib_resources) that it does not depend on.
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        def column(dtype: Any, *shape: int) -> tfds.features.Tensor:
            return tfds.features.Tensor(shape=(None, *shape), dtype=dtype)

        # Flat columns: tfds takes twice as long to read a sequence of dictionaries.
        return tfds.core.DatasetInfo(
            builder=self,
            description='COCO images as stored in their files, with instances as run lengths.',
            homepage='https://cocodataset.org',
            disable_shuffling=True,
            metadata=_Metadata(),
            features=tfds.features.FeaturesDict(
                {
                    'image': tfds.features.Image(),
                    'image/id': np.int64,
                    'file_name': tfds.features.Text(),
                    'height': np.int64,
                    'width': np.int64,
                    'apply_exif': np.bool_,
                    'license': tfds.features.Text(),
                    'instances': {name: column(*kind) for name, kind in _COLUMNS.items()},
                    'complete_known': np.bool_,
                    'complete_category_ids': column(np.int64),
                }
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, list[shards.Shard]]:
        config = self.builder_config
        sources = self._sources(dl_manager)
        # Everything is read and checked before anything is written, so that errors show early.
        documents = {split: source.document() for split, source in sources.items()}
        parsed = {}
        for split, source in sources.items():
            parsed[split] = read_source(
                source, documents.pop(split), split, config.exif, config.crowds_as_instances
            )
            data_loss.check(split, source.title, parsed[split], config.accept_loss)
        categories = merging.merge_categories(parsed)
        merging.separate_image_ids(parsed)
        complete = {
            split: label_spaces.category_ids(names, categories)
            for split, names in config.complete.items()
        }
        if not config.found:
            complete = {split: [c.id for c in categories] for split in config.splits}
        self.info.metadata['categories'] = [dataclasses.asdict(c) for c in categories]
        if config.found:
            self.info.metadata['layout'] = config.found.layout.title
        state = [VERSION, READER, config.exif, config.crowds_as_instances, sorted(complete.items())]
        state += [annotations.sha256 for annotations in parsed.values()]
        key = hashlib.sha256(json.dumps(state).encode()).hexdigest()
        self._staging.mkdir(exist_ok=True)
        return {
            split: self._write_split(split, key, parsed[split], source.read, complete.get(split))
            for split, source in sources.items()
        }

    def _sources(self, dl_manager: Any) -> dict[str, Source]:
        config = self.builder_config
        if config.found:
            pairs = zip(config.splits, config.found.splits, strict=True)
            return {name: folder_source(config.found, split, config.exif) for name, split in pairs}
        urls = {split: f'{URL}zips/{split}2014.zip' for split in config.splits}
        urls['annotations'] = f'{URL}annotations/annotations_trainval2014.zip'
        files = dl_manager.download(urls)
        sources = {}
        for split in config.splits:
            zipped = coco_files.ZipSource(files['annotations'], files[split], f'{split}2014')
            data, title = zipped.annotations(), zipped.annotations_name
            sources[split] = Source(
                title, hashlib.sha256(data).hexdigest(),
                functools.partial(annotations_lib.load, data, title), zipped.find, zipped.read,
            )  # fmt: skip
        return sources

    def _generate_examples(
        self,
        split: str,
        annotations: Annotations,
        read: Callable[[str], bytes],
        complete: Sequence[int] | None,
        number_finished: int,
    ) -> Iterator[bytes]:
        """The records after those that are finished. At the end, metadata are those of all."""
        column = {c['id']: k for k, c in enumerate(self.info.metadata['categories'])}
        digest = hashlib.sha256()
        instances, rows = 0, []
        files = coco_files.in_threads(
            lambda image: read(image.file_name), annotations.images, split
        )
        for image, data in zip(annotations.images, files, strict=True):
            digest.update(data)
            known = sorted(column) if image.all_categories_annotated else complete
            found = [column[instance.category_id] for instance in image.instances]
            row = [image.id, image.file_name, image.height, image.width]
            row += [np.bincount(found, minlength=len(column)), np.isin(list(column), known or ())]
            rows.append([*row, known is not None])
            instances += len(found)
            if len(rows) > number_finished:
                yield self._serialize(example(image, data, known))
        kinds = (np.int64, np.str_, np.int64, np.int64, np.int32, np.bool_, np.bool_)
        columns = zip(zip(*rows, strict=True), kinds, strict=True)
        self.info.metadata.indexes[split] = CocoIndex(*(np.array(*pair) for pair in columns))
        skipped: Skipped = annotations.skipped
        self.info.metadata.setdefault('skipped', {})[split] = skipped.as_dict()
        self.info.metadata.setdefault('notes', {})[split] = annotations.notes.as_dict()
        self.info.metadata.setdefault('fingerprint', {})[split] = _with_id(
            {
                'split': split,
                'source': self.builder_config.source,
                'annotations_sha256': annotations.sha256,
                'images_sha256': digest.hexdigest(),
                'images': len(rows),
                'instances': instances,
                'complete': None if complete is None else sorted(complete),
                'skipped': {reason: entry['count'] for reason, entry in skipped.as_dict().items()},
            }
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        # tfds' own writer sorts the examples of a split, beyond 1000 MiB in files that TensorFlow
        # writes. Here they are in order already and go straight into the shards.
        del download_config
        written = self._split_generators(dl_manager)
        infos = []
        for split, files in written.items():
            template = self._get_filename_template(split)
            for i in range(len(files)):
                path = template.sharded_filepath(shard_index=i, num_shards=len(files))
                shards.file_of(self._staging, split, i).rename(path)
            infos.append(
                tfds_splits.SplitInfo(
                    name=split,
                    shard_lengths=[shard.records for shard in files],
                    num_bytes=sum(shard.num_bytes for shard in files),
                    filename_template=template,
                )
            )
        self.info.set_splits(tfds_splits.SplitDict(infos))
        metadata = self.info.metadata
        metadata['fingerprint'] = _with_id({'version': VERSION, 'splits': metadata['fingerprint']})

    @property
    def _staging(self) -> pathlib.Path:
        return staging(pathlib.Path(self.data_dir))

    def _serialize(self, example: dict[str, Any]) -> bytes:
        record = self.info.features.serialize_example(example)
        # The order of the fields differs between processes.
        message = tf_example_pb2.Example.FromString(record)
        return message.SerializeToString(deterministic=True)

    def _write_split(
        self,
        split: str,
        key: str,
        annotations: Annotations,
        read: Callable[[str], bytes],
        complete: Sequence[int] | None,
    ) -> list[shards.Shard]:
        identities = [f'{image.id} {image.sha256}' for image in annotations.images]
        done = shards.finished(self._staging, split, key, identities)
        number = sum(shard.records for shard in done)
        records = self._generate_examples(split, annotations, read, complete, number)
        return shards.write(self._staging, split, key, identities, records, MAX_SHARD_BYTES)


def example(image: Image, data: bytes, complete: Sequence[int] | None) -> dict[str, Any]:
    """The record of an image, as tfds encodes it; `complete` are ids of categories, if known."""
    columns = {}
    for name, (kind, *shape) in _COLUMNS.items():
        values = [getattr(instance, name) for instance in image.instances]
        # An array of bytes would lose zeros at their end.
        dtype = object if kind is np.bytes_ else kind
        columns[name] = np.array(values, dtype).reshape(-1, *shape)
    return {
        'image': io.BytesIO(data),
        'image/id': image.id,
        'file_name': image.file_name,
        'height': image.height,
        'width': image.width,
        'apply_exif': image.apply_exif,
        'license': image.license,
        'instances': columns,
        'complete_known': complete is not None,
        'complete_category_ids': np.array(complete or (), np.int64),
    }


def _with_id(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Adds a short hash of the content as `id`."""
    text = json.dumps(fingerprint, sort_keys=True)
    return {**fingerprint, 'id': hashlib.sha256(text.encode()).hexdigest()[:12]}


def build(config: CocoConfig, data_dir: pathlib.Path, path: pathlib.Path) -> None:
    """Writes the data set into `path`, below `data_dir`; leaves an empty folder `staging(path)`.

    Raises:
      ValueError: see `coco.prepare`.
      OSError: it cannot be written.
    """
    leftovers = [*path.parent.glob('incomplete.*')]
    leftovers += (data_dir / 'downloads' / NAME).glob('**/*.tmp.*')
    for leftover in leftovers:
        shutil.rmtree(leftover)
    number = len([*staging(path).glob('*.json')])
    if leftovers or number:
        what = f'going on after {number} finished shards' if number else 'starting again'
        print(f'An earlier preparation of {config.name} was interrupted; {what}.')
    verbosity = logging.get_verbosity()
    # tfds warns that the configuration is our own, and prints what `prepare` reports in short.
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder = CocoInstances(config=config, data_dir=data_dir, file_format='array_record')
            download = tfds.download.DownloadConfig(
                try_download_gcs=False, force_checksums_validation=True
            )
            builder.download_and_prepare(download_config=download)
    except Exception as error:
        shutil.rmtree(staging(path), ignore_errors=True)
        if not isinstance(error, OSError | RuntimeError):  # array_record raises this on a full disk
            raise
        raise OSError(f'{path} cannot be prepared, and nothing is kept of it: {error}') from error
    finally:
        logging.set_verbosity(verbosity)
