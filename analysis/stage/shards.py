"""Shares the images of an analysis out to the processes of a command.

The processes are those of `launch.join_processes`, and see the same run directory. All of them run
the same stages. A stage without `shared` is computed by process 0 alone. In a shared one each
process takes a part of the images and writes what it finds to `shards/` in the folder of the
analysis; process 0 reads all parts in order, computes the rest and writes the result. With one
process, nothing here costs anything.

An error in one process ends all of them.
"""

import contextlib
import io
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import msgspec
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from analysis.stage.run import Analysis, restrict
from segmentation.files import replacing

T = TypeVar('T')

_FOLDER = 'shards'
# Process 0 may compute for days. A process that died is noticed within minutes all the same.
_WAIT = 7 * 24 * 3600  # seconds
_END = b'\xff' * 8  # of a complete file, instead of the length of a part


class OnFirst(Exception):
    """What remains is done by process 0 only."""


class _Group:
    """The processes that share the work."""

    alone = False  # whether this process does not wait for others: see `by_first`
    meetings = 0

    def size(self) -> int:
        return 1 if self.alone else jax.process_count()


_group = _Group()


def is_first() -> bool:
    """Whether this is process 0, which prints and writes results."""
    return jax.process_index() == 0


def _meet(value: int) -> list[int]:
    """Waits for all processes; returns the value of each."""
    if _group.size() == 1:
        return [value]
    _group.meetings += 1
    # This barrier may wait for long, unlike collective operations of the devices.
    everyone = set(range(_group.size()))
    name = f'analysis-{_group.meetings}'
    multihost.sync_global_processes(name, timeout=_WAIT, processes=everyone)
    return multihost_utils.process_allgather(np.array([value])).ravel().tolist()


@contextlib.contextmanager
def together() -> Iterator[None]:
    """At the end of the block, waits for all processes to get there.

    Raises:
      ValueError: another process has failed.
    """
    try:
        yield
    except Exception:
        _meet(1)
        # The others know, and end as well.
        _group.alone = jax.process_count() > 1
        raise
    if any(_meet(0)):
        _group.alone = True
        raise ValueError('Another process of this analysis has failed; it has printed its error.')


def in_all(work: Callable[..., T]) -> Callable[..., T]:
    """`work`, which all processes run, `together`."""
    return together()(work)


def agreed(decide: Callable[[], bool]) -> bool:
    """What process 0 decides, in all processes."""
    return bool(_meet(int((is_first() or _group.alone) and decide()))[0])


def by_first(work: Callable[[], T]) -> T | None:
    """Runs `work` in process 0 while the others wait; they get None."""
    if _group.size() == 1:
        return work()
    with together():
        if not is_first():
            return None
        _group.alone = True
        try:
            return work()
        finally:
            _group.alone = False


def only_first() -> None:
    """Goes on in process 0.

    Raises:
      OnFirst: in all others; `contract.Stage` catches it.
    """
    if _group.size() > 1 and not is_first():
        raise OnFirst


def part_of(items: Sequence[T] | np.ndarray, step: int = 1, process: int | None = None) -> Any:
    """The items of one process, this one by default: consecutive ones, in multiples of `step`."""
    number = jax.process_index() if process is None else process
    if _group.size() == 1:
        return items
    blocks = -(-len(items) // step)
    first, end = (step * (blocks * place // _group.size()) for place in (number, number + 1))
    return items[first:end]


def stream(
    analysis: Analysis,
    name: str,
    work: Callable[[Analysis, np.ndarray], Iterator[Any]],
    order: np.ndarray | None = None,
) -> Iterator[Any]:
    """What `work` finds in the images, piece by piece in their order.

    A process gets whole batches of a device. So every image is computed in the same batch as on one
    device, and the results are the same bit by bit.

    Args:
      analysis: of all images.
      name: of the files.
      work: gets the analysis of some images and their rows, int64 `[n]`. It yields trees of arrays,
        numbers, text and bytes; with several processes, tuples become lists.
      order: rows of all images in another order.

    Raises:
      OnFirst: in all processes but the first, when their part is written.
      ValueError: another process has failed.
    """
    rows = np.arange(len(analysis)) if order is None else order
    if _group.size() == 1:
        return work(restrict(analysis, rows), rows)
    folder = analysis.folder / _FOLDER
    paths = [folder / f'{name}-{number}.msgpack' for number in range(_group.size())]
    mine = part_of(rows, analysis.run.device_batch_size)
    with together():
        folder.mkdir(exist_ok=True)
        path = paths[jax.process_index()]
        with replacing(path) as partial, partial.open('wb') as file:
            for piece in work(restrict(analysis, mine), mine) if len(mine) else ():
                data = msgspec.msgpack.encode(piece, enc_hook=_pack)
                file.write(len(data).to_bytes(8, 'little') + data)
            file.write(_END)
    only_first()
    return _read(paths)


def _read(paths: Sequence[pathlib.Path]) -> Iterator[Any]:
    for path in paths:
        with path.open('rb') as file:
            while (length := file.read(8)) != _END:
                size = int.from_bytes(length, 'little')
                data = file.read(size)
                if not size or len(data) < size:
                    raise ValueError(f'{path} is not complete; do the processes see one folder?')
                yield msgspec.msgpack.decode(data, ext_hook=_unpack)
    shutil.rmtree(paths[0].parent)


def _pack(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    data = io.BytesIO()
    np.lib.format.write_array(data, np.asarray(value), allow_pickle=False)
    return msgspec.msgpack.Ext(1, data.getvalue())


def _unpack(code: int, data: memoryview) -> np.ndarray:
    del code
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
