"""Shards of a split, of which the finished ones outlive an interruption."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from array_record.python import array_record_module

from segmentation.files import write_json

# Image files are compressed already; the default spends more time on trying than all the rest.
_OPTIONS = 'group_size:1,snappy'


@dataclasses.dataclass(frozen=True)
class Shard:
    """A finished shard."""

    key: str  # of what all records of the data set are made from
    digest: str  # of its records' identities
    records: int
    num_bytes: int  # of its records
    file_bytes: int


def file_of(folder: pathlib.Path, split: str, number: int) -> pathlib.Path:
    """The file of a finished shard; what is known of it stands beside it, with the suffix .json."""
    return folder / f'{split}-{number}.shard'


def finished(folder: pathlib.Path, split: str, key: str, identities: Sequence[str]) -> list[Shard]:
    """The first shards of a split that an earlier call of `write` has finished.

    Args:
      folder: that it was called with, if any.
      split: name.
      key: says what all records are made from. Shards with another key do not count.
      identities: of all records of the split, in order.
    """
    shards: list[Shard] = []
    start = 0
    while True:
        file = file_of(folder, split, len(shards))
        try:
            shard = Shard(**json.loads(file.with_suffix('.json').read_text()))
            is_whole = file.stat().st_size == shard.file_bytes
        except (OSError, ValueError, TypeError):
            return shards
        end = start + shard.records
        is_same = shard.key == key and shard.digest == _digest(identities[start:end])
        if not (is_whole and is_same):
            return shards
        shards.append(shard)
        start = end


def write(
    folder: pathlib.Path,
    split: str,
    key: str,
    identities: Sequence[str],
    records: Iterable[bytes],
    max_bytes: int,
) -> list[Shard]:
    """Writes the shards of a split that are not finished yet.

    Args:
      folder: that exists.
      split: name.
      key: see `finished`.
      identities: see `finished`.
      records: those after the finished shards.
      max_bytes: of the records of a shard, unless one record alone is larger.

    Returns:
      All shards of the split.
    """
    shards = finished(folder, split, key, identities)
    writer: Any = None
    start = end = sum(shard.records for shard in shards)
    num_bytes = 0

    def finish() -> None:
        writer.close()
        file = file_of(folder, split, len(shards))
        partial.rename(file)
        digest, size = _digest(identities[start:end]), file.stat().st_size
        shard = Shard(key, digest, end - start, num_bytes, size)
        # Last: without it, the shard does not count.
        write_json(file.with_suffix('.json'), dataclasses.asdict(shard))
        shards.append(shard)

    partial = folder / f'{split}.unfinished'
    for record in records:
        if writer is not None and num_bytes + len(record) > max_bytes:
            finish()
            writer, start, num_bytes = None, end, 0
        if writer is None:
            file_of(folder, split, len(shards)).with_suffix('.json').unlink(missing_ok=True)
            writer = array_record_module.ArrayRecordWriter(str(partial), _OPTIONS)
        writer.write(record)
        end += 1
        num_bytes += len(record)
    if writer is not None:
        finish()
    return shards


def _digest(identities: Sequence[str]) -> str:
    return hashlib.sha256('\n'.join(identities).encode()).hexdigest()
