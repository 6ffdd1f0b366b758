"""One pass over all images of a prepared data set: counts, sizes, coverage, copies."""

import collections
import dataclasses
import hashlib
from typing import Any

import numpy as np
import tqdm
from pycocotools import mask as mask_utils

from segmentation.data import coco
from segmentation.data.double_labels import labeled_twice

# Random instances of each category that are kept to be shown.
_KEPT = 6


@dataclasses.dataclass(frozen=True)
class Instances:
    """All instances of a data set, in the order of splits, images and annotation files."""

    image: np.ndarray  # int64 `[M]`, row in `Scan`
    number: np.ndarray  # int64 `[M]`, position among the instances of its image
    category: np.ndarray  # int64 `[M]`, position in `Prepared.categories`
    id: np.ndarray  # int64 `[M]`, annotation id
    crowd: np.ndarray  # bool `[M]`
    area: np.ndarray  # int64 `[M]`, pixels of the mask
    share: np.ndarray  # float64 `[M]`, of the image's pixels, in [0, 1]


@dataclasses.dataclass(frozen=True)
class Scan:
    """What is in a data set; rows are images, in the order of splits and image ids."""

    splits: tuple[str, ...]  # names
    split: np.ndarray  # int64 `[N]`, position in `splits`
    position: np.ndarray  # int64 `[N]`, in the split
    image_id: np.ndarray  # int64 `[N]`
    file_name: np.ndarray  # str `[N]`
    height: np.ndarray  # int64 `[N]`, pixels
    width: np.ndarray  # int64 `[N]`, pixels
    count: np.ndarray  # int64 `[N]`, instances
    covered: np.ndarray  # float64 `[N]`, share of the pixels that some instance covers, in [0, 1]
    digest: np.ndarray  # str `[N]`, SHA-256 of the image file
    labels: np.ndarray  # str `[N]`, digest of the categories and masks of its instances
    instances: Instances
    samples: dict[int, np.ndarray]  # category → rows of `instances`, a few at random
    # Rows of two instances that seem to be one object, and the IoU of their masks; the highest
    # IoU first. See `double_labels`.
    twice: list[tuple[int, int, float]]

    def copies(self) -> list[np.ndarray]:
        """Groups of rows whose files have the same bytes, the largest groups first."""
        groups = collections.defaultdict(list)
        for row, digest in enumerate(self.digest.tolist()):
            groups[digest].append(row)
        found = [np.array(rows) for rows in groups.values() if len(rows) > 1]
        return sorted(found, key=lambda rows: (-len(rows), rows[0]))

    def crosses(self, rows: np.ndarray) -> bool:
        """Whether images are of more than one split."""
        return len(set(self.split[rows].tolist())) > 1


def scan(prepared: coco.Prepared) -> Scan:
    """Reads all images of a data set.

    Raises:
      ValueError: the data set is damaged.
    """
    column = {category.id: k for k, category in enumerate(prepared.categories)}
    images: dict[str, list] = collections.defaultdict(list)
    instances: dict[str, list] = collections.defaultdict(list)
    twice: list[tuple[int, int, float]] = []
    row = 0
    for number, name in enumerate(prepared.splits):
        split = prepared.split(name)
        for position in tqdm.trange(
            len(split), desc=f'inspect {name}', unit=' images', leave=False
        ):
            record = split[position]
            height, width = int(record['height']), int(record['width'])
            kinds = record['instances']['category_id'].tolist()
            rles = [
                {'size': [height, width], 'counts': counts} for counts in record['instances']['rle']
            ]
            areas = np.asarray(mask_utils.area(rles), np.int64) if rles else np.zeros(0, np.int64)
            union = int(mask_utils.area(_union(rles))) if rles else 0
            labels = sorted(zip(kinds, (rle['counts'] for rle in rles), strict=True))
            for key, value in (
                ('split', number), ('position', position), ('image_id', int(record['image/id'])),
                ('file_name', record['file_name']), ('height', height), ('width', width),
                ('count', len(rles)), ('covered', union / (height * width)),
                ('digest', hashlib.sha256(record['image']).hexdigest()),
                ('labels', hashlib.sha256(repr(labels).encode()).hexdigest()),
            ):  # fmt: skip
                images[key].append(value)
            first = len(instances['image'])
            twice += [(first + a, first + b, iou) for a, b, iou in labeled_twice(record)]
            instances['image'] += [row] * len(rles)
            instances['number'] += range(len(rles))
            instances['category'] += [column[kind] for kind in kinds]
            instances['id'] += record['instances']['id'].tolist()
            instances['crowd'] += record['instances']['is_crowd'].tolist()
            instances['area'] += areas.tolist()
            instances['share'] += (areas / (height * width)).tolist()
            row += 1
    kinds_of = {'crowd': np.bool_, 'share': np.float64}
    flat = Instances(**{
        field.name: np.array(instances[field.name], kinds_of.get(field.name, np.int64))
        for field in dataclasses.fields(Instances)
    })  # fmt: skip
    rng = np.random.default_rng(0)
    samples = {}
    for category in range(len(prepared.categories)):
        rows = np.flatnonzero(flat.category == category)
        samples[category] = rng.permutation(rows)[:_KEPT]
    columns = {key: np.array(values) for key, values in images.items()}
    twice.sort(key=lambda pair: -pair[2])
    return Scan(splits=prepared.splits, instances=flat, samples=samples, twice=twice, **columns)


def _union(rles: list) -> Any:
    # Merging takes quadratic time in the number of masks, so it is done in a tree.
    while len(rles) > 1:
        rles = [mask_utils.merge(rles[i : i + 16]) for i in range(0, len(rles), 16)]
    return rles[0]
