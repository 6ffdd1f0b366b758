"""What a prepared data set has beside the records of tfds; read and written without tfds."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

VERSION = '1.0.0'
# Increased when a folder may be read differently: it is then prepared again, beside the old one.
READER = 5
NAME = 'coco_instances'
# A file next to those of tfds, with categories, fingerprint and the report of what was skipped.
METADATA = 'coco.json'


@dataclasses.dataclass(frozen=True)
class CocoIndex:
    """What is known of the images of a split without reading them, by increasing image id."""

    image_id: np.ndarray  # int64 `[N]`
    file_name: np.ndarray  # str `[N]`
    height: np.ndarray  # int64 `[N]`, in pixels, as annotated
    width: np.ndarray  # int64 `[N]`, in pixels, as annotated
    counts: np.ndarray  # int32 `[N, K]`, annotations per category, including crowd regions
    complete: np.ndarray  # bool `[N, K]`, whether every instance of the category is annotated
    complete_known: np.ndarray  # bool `[N]`, whether `complete` is known for the image


def metadata_sha256(metadata: Mapping[str, Any]) -> str:
    """Digest of the content of METADATA, without its own `sha256`."""
    content = {key: value for key, value in metadata.items() if key != 'sha256'}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def staging(path: pathlib.Path) -> pathlib.Path:
    """Where the finished shards of a data set are until all are finished, beside its folder."""
    return path.parent / 'unfinished'
