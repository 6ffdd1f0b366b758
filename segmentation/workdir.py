"""Run directories: one writer at a time, and files that describe the run."""

import contextlib
import fcntl
import importlib.metadata
import json
import logging
import pathlib
import platform
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from segmentation.config import NEUTRAL_FIELDS, differences, flat, read_config, save_config
from segmentation.files import sha256, write_json

if TYPE_CHECKING:
    from segmentation.data import coco

logger = logging.getLogger(__name__)

# Fields that may also differ when a run is continued: they only affect the remaining steps. (The
# length of a training run also affects the steps before if the learning rate decays to its end.)
_FUTURE_FIELDS = {'train.num_steps', 'train.num_epochs', 'optimizer.skip_nonfinite'}
_LENGTH_FIELDS = {'train.num_steps', 'train.num_epochs'}


@contextlib.contextmanager
def claim(workdir: pathlib.Path, name: str = 'lock') -> Iterator[None]:
    """Locks a run directory, or another folder, with a file of this name in it.

    Raises:
      ValueError: another process has the lock.
      OSError: the file cannot be written or locked.
    """
    with (workdir / name).open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f'Another process is writing into {workdir}; choose another folder.'
            ) from error
        except OSError as error:
            raise OSError(
                f'{workdir / name} cannot be locked ({error}): choose a folder on a file system '
                'that has locks.'
            ) from error
        yield


def code_version() -> str:
    """The commit of this code, with '-dirty' if files have changed; 'unknown' without git."""
    git = ['git', '-C', str(pathlib.Path(__file__).parent), 'describe', '--always', '--dirty']
    try:
        found = subprocess.run([*git, '--abbrev=12'], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'
    return found.stdout.strip()


def describe_run(
    prepared: 'coco.Prepared',
    reports: dict,
    class_names: tuple[str, ...],
    weights: pathlib.Path | None = None,
) -> dict:
    """The content of `run.json`: command, versions, devices, data, classes, selected images.

    Args:
      prepared: the data set.
      reports: of `select_examples`, by part.
      class_names: background first.
      weights: file of the pretrained weights, of which the name and the SHA-256 are recorded.
    """
    import jax  # imported here, so that reading a run needs no JAX

    packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'numpy', 'pillow')
    return {
        'command': [sys.executable, *sys.argv],
        'code': code_version(),
        'python': platform.python_version(),
        'packages': {name: importlib.metadata.version(name) for name in packages},
        'devices': [str(device) for device in jax.devices()],
        'data': {'path': str(prepared.path), 'fingerprint': prepared.fingerprint},
        'class_names': list(class_names),
        'images': reports,
        'weights': {weights.name: sha256(weights)} if weights else {},
    }


def write_description(workdir: pathlib.Path, config: ConfigDict, run: dict) -> None:
    """Writes `config.json` and `run.json`, also over those of a start without a checkpoint.

    Raises:
      ValueError: the directory holds a run of another config or other data, or the analysis of
        a foreign model; nothing is changed.
    """
    if holds_run(workdir):
        _check_same_run(workdir, config, run)
    elif _is_foreign(workdir):
        raise ValueError(
            f'{workdir} holds the analysis of a model that was not trained here; choose another '
            'folder.'
        )
    elif (workdir / 'run.json').exists():
        logger.info('%s has no checkpoint: starting at step 0 with this config.', workdir)
    save_config(config, workdir / 'config.json')
    write_json(workdir / 'run.json', run)


def holds_run(workdir: pathlib.Path) -> bool:
    """Whether a directory holds a run, which has a checkpoint, be it damaged.

    A start that ended before its first checkpoint leaves nothing to continue.
    """
    return (workdir / 'run.json').exists() and any(
        path.name.partition('.')[0].isdecimal() and 'orbax-checkpoint-tmp' not in path.name
        for path in (workdir / 'checkpoints').glob('*')
    )


def checkpoint_crc32(workdir: pathlib.Path, step: int) -> int | None:
    """The checksum of a checkpoint, which tells it from that of another training run.

    None if there is no checkpoint, or one of an older version without a checksum.
    """
    try:
        stored = json.loads((workdir / f'checkpoints/{step}/data/metadata').read_text())
        return int(stored['crc32'])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_description(workdir: pathlib.Path) -> dict:
    """Reads `run.json`.

    Raises:
      ValueError: it is missing, damaged, or incomplete.
    """
    path = workdir / 'run.json'
    if not path.is_file():
        raise ValueError(f'{workdir} is no run directory (it has no run.json): check --workdir.')
    try:
        run = json.loads(path.read_text())
        run['class_names'], run['data']['path'], run['data']['fingerprint']
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is damaged or not from this project ({error!r}).') from error
    return run


def _is_foreign(workdir: pathlib.Path) -> bool:
    try:
        return 'foreign' in read_description(workdir)
    except ValueError:
        return False


def _check_same_run(workdir: pathlib.Path, config: ConfigDict, run: dict) -> None:
    old = flat(read_config(workdir / 'config.json'))
    future = _FUTURE_FIELDS - (_LENGTH_FIELDS if config.optimizer.schedule != 'constant' else set())
    differing = differences(old, flat(config), NEUTRAL_FIELDS | future)
    before = read_description(workdir)
    if before['data']['fingerprint'] != run['data']['fingerprint']:
        differing.append(f"data: {before['data']['fingerprint']} there, "
                         f"{run['data']['fingerprint']} now")  # fmt: skip
    # Older runs do not name their weights. A run that is continued has its own in the checkpoint,
    # so run.json would name a file that it was not made from.
    weights = before.get('weights', run['weights'])
    if sorted(weights.values()) != sorted(run['weights'].values()):
        differing.append(f'model.pretrained: {weights} there, {run["weights"]} now')
    for part, now in run['images'].items():
        there = before.get('images', {}).get(part, {})
        # Older runs have no digest.
        if there.get('sha256', now['sha256']) != now['sha256']:
            differing.append(
                f'the {part} images: {there["images"]} there, {now["images"]} now, and not the '
                'same ones (has the file of data.exclude changed?)'
            )
    if differing:
        raise ValueError(
            f'{workdir} holds another run, which cannot be continued with:\n  '
            + '\n  '.join(differing)
            + '\nChoose another --workdir.'
        )
