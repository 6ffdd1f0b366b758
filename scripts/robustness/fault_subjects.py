"""What inject_faults.py damages: a tiny data set, checkpoint and artifact."""

import contextlib
import dataclasses
import io
import json
import pathlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pyarrow
from ml_collections import ConfigDict
from PIL import Image

from analysis.stage import artifacts
from analysis.stage.view import View
from segmentation.data import coco

SIZE = (40, 30)  # of images
STATE = {
    'params': {'kernel': np.arange(6000, dtype=np.float32).reshape(60, 100) / 7},
    'batch_stats': {'mean': np.ones(7, np.float32)},
}


def outcome_of(
    work: Callable[[], Any], named: pathlib.Path, expected: type | tuple = ValueError
) -> tuple[str, Any]:
    """Runs something; an expected error must name a path.

    Returns:
      'done', 'noticed', 'NOT NAMED: …' or 'RAISED …', and the result or None.
    """
    try:
        return 'done', work()
    except expected as error:
        return 'noticed' if str(named) in str(error) else f'NOT NAMED: {error}', None
    except Exception as error:  # any other error is wrong
        return f'RAISED {type(error).__name__}', None


def write_coco(folder: pathlib.Path) -> pathlib.Path:
    """A folder in COCO's layout with six images of noise."""
    rng, (width, height) = np.random.default_rng(0), SIZE
    (folder / 'train').mkdir(parents=True)
    (folder / 'annotations').mkdir()
    document = {'images': [], 'annotations': [], 'categories': [{'id': 1, 'name': 'person'}]}
    for i in range(1, 7):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / 'train' / f'{i}.jpg')
        image = {'id': i, 'file_name': f'{i}.jpg', 'width': width, 'height': height}
        shape = {'image_id': i, 'category_id': 1, 'segmentation': [[1, 1, 30, 2 + i, 20, 25]]}
        document['images'].append(image)
        document['annotations'].append({'id': i, **shape})
    (folder / 'annotations' / 'instances_train.json').write_text(json.dumps(document))
    return folder


def prepare(source: pathlib.Path, data_dir: pathlib.Path) -> coco.Prepared:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        return coco.prepare(str(source), data_dir)


def read_prepared(path: pathlib.Path) -> Any:
    prepared = coco.open_prepared(path)
    split = prepared.split('train')
    return prepared.fingerprint, prepared.categories, vars(split.index), list(split)


def save_checkpoint(workdir: pathlib.Path, step: int, keep_every: int = 0) -> None:
    from segmentation import checkpoint  # here and below: it imports JAX

    with checkpoint.open_manager(workdir, keep_every=keep_every) as manager:
        state, score = {**STATE, 'step': np.int32(step)}, {checkpoint.BEST_METRIC: 0.5}
        checkpoint.save(manager, step, state, {'next_index': step}, None if keep_every else score)
        checkpoint.wait(manager)


def continue_from(workdir: pathlib.Path) -> int:
    """The step from which training would continue; AssertionError if its state is not as saved."""
    from segmentation import checkpoint

    with checkpoint.open_manager(workdir) as manager:
        step, state, data_state = checkpoint.restore_latest(manager, {**STATE, 'step': np.int32(0)})
    np.testing.assert_equal(state, {**STATE, 'step': np.int32(step)})
    np.testing.assert_equal(data_state['next_index'], step)
    return step


@dataclasses.dataclass(frozen=True)
class Thing(artifacts.Result):
    """An artifact with every kind of file."""

    NAME: ClassVar[str] = 'thing'
    VERSION: ClassVar[int] = 1

    numbers: list[float]
    values: np.ndarray
    table: pyarrow.Table


def make_thing(seed: int) -> Thing:
    values = np.random.default_rng(seed).random(40)
    names = [f'image {i}' for i in range(40)]
    return Thing(values.tolist(), values, pyarrow.table({'value': values, 'name': names}))


def open_folder(folder: pathlib.Path) -> View:
    view = View(folder, ConfigDict(), (), {'fingerprint': 'abc'}, 'val', 7, np.arange(40))
    view.folder.mkdir(parents=True, exist_ok=True)
    return view


def save_thing(folder: pathlib.Path, seed: int) -> None:
    artifacts.save(open_folder(folder), make_thing(seed))


def load_thing(folder: pathlib.Path) -> Thing:
    return artifacts.load(open_folder(folder), Thing)


def same(found: Any, expected: Any) -> bool:
    if isinstance(found, Thing):
        found, expected = vars(found), vars(expected)
    try:
        np.testing.assert_equal(found, expected)
    except AssertionError:
        return False
    return True
