"""Campaigns: many training runs in one process, which can be stopped and continued."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import pathlib
import signal
import sys
import time
import types
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike
from tqdm import tqdm

from segmentation import launch
from segmentation.data import coco, selection
from segmentation.data.examples import PARTS, select_examples
from segmentation.files import replacing, write_json, write_text


def write_report(
    workdir: pathlib.Path,
    markdown: str,
    draw: Callable[[pathlib.Path], None],
    content: Mapping[str, Any],
    json_file: pathlib.Path | None,
) -> None:
    """Writes report.md, report.png and report.json into a directory.

    Args:
      workdir: the directory.
      markdown: the report.
      draw: writes its figure to a path.
      content: the JSON; also written to `json_file`, if it is given.
      json_file: the file of `--json`.
    """
    write_text(workdir / 'report.md', markdown)
    draw(workdir / 'report.png')
    for path in filter(None, (workdir / 'report.json', json_file)):
        write_json(path, content)


def overrides(fields: Mapping[str, Any]) -> list[str]:
    """Arguments `--config.<field>=<value>`, as `config.load_config` takes them."""
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return [f'--config.{name}={value}' for name, value in values.items()]


@dataclasses.dataclass(frozen=True)
class Training:
    """One training run of a plan."""

    experiment: str
    seed: int
    fold: int
    fraction: float  # of the training images, in (0, 1]
    directory: pathlib.Path
    config: ConfigDict
    num_images: int  # for training and for choosing the checkpoint
    size: int | None = None  # side of the square in which pixels are counted; None: the network's
    truths: Mapping[str, Any] | None = None  # what the true classes depend on, by experiment

    @property
    def work(self) -> int:
        """Training images processed, repetitions included."""
        return self.config.train.num_steps * self.config.train.batch_size


@dataclasses.dataclass(frozen=True)
class Scored:
    """Confusion matrices of an experiment on a fraction of the training images, folds pooled."""

    # int64 `[S, N, C, C]` of S seeds and N images, by what they are counted against, for example an
    # experiment, which defines the true classes.
    targets: dict[str, np.ndarray]
    image_id: np.ndarray  # int64 `[N]`, rising
    fold: np.ndarray  # int64 `[N]`
    num_train: float  # training images, with those held out to choose the checkpoint


def state_of(training: Training, prepared: coco.Prepared) -> str:
    """Everything that the scores of a finished training depend on, as JSON."""
    state = [training.config.to_dict(), prepared.fingerprint['id'], training.size, training.truths]
    return json.dumps(state, sort_keys=True)


def load_scores(
    directory: pathlib.Path, state: str, targets: Iterable[str]
) -> dict[str, np.ndarray] | None:
    """Returns the arrays in `scores.npz`, or None if they are missing, damaged or out of date."""
    path = directory / 'scores.npz'
    try:
        # The checksums of the zip file detect changed bits.
        with np.load(path, allow_pickle=False) as arrays:
            scores = dict(arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        print(f'{path} cannot be read ({error}); scoring again.', file=sys.stderr)
        return None
    return scores if str(scores.get('state')) == state and set(targets) <= scores.keys() else None


def save_scores(directory: pathlib.Path, state: str, scores: Mapping[str, ArrayLike]) -> None:
    """Writes `scores.npz` atomically."""
    with replacing(directory / 'scores.npz') as partial, partial.open('wb') as file:
        arrays = {name: np.asarray(values) for name, values in {**scores, 'state': state}.items()}
        np.savez(file, allow_pickle=False, **arrays)


def last_step(workdir: pathlib.Path) -> int:
    """The step in the last complete line of a run's metrics; 0 before the first one."""
    path = workdir / 'metrics.jsonl'
    complete = path.read_text().rpartition('\n')[0] if path.exists() else ''
    return int(json.loads(complete.splitlines()[-1])['step']) if complete else 0


class _Stop(KeyboardInterrupt):
    """No Exception: what reads a file and takes any error for damage must let it pass."""


@contextlib.contextmanager
def stop_at_once() -> Iterator[None]:
    """Turns SIGTERM and Ctrl-C into `TrainingStopped` where `train.train` does not handle them.

    That is while a training run is set up or scored, when there is nothing to save.
    """

    def stop(number: int, frame: types.FrameType | None) -> None:
        del number, frame
        raise _Stop

    numbers = signal.SIGTERM, signal.SIGINT
    previous = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    except _Stop:
        raise launch.TrainingStopped('Stopped between two training runs.') from None
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


def run_plan(
    plan: list[Training],
    finished: Collection[pathlib.Path],
    score: Callable[[Training], None],
    on_block: Callable[[], object],
) -> None:
    """Runs and scores all training runs of a plan that are not finished.

    Args:
      plan: training runs in the order in which they run.
      finished: directories of training runs that have been scored.
      score: scores a training run that has just ended.
      on_block: called when the training runs of a seed and fraction are finished and others follow.

    Raises:
      launch.TrainingStopped: SIGTERM or Ctrl-C.
      ValueError: see `train.train`.
      launch.TrainingDiverged: see `train.train`.
    """
    from segmentation import train  # here, because it imports JAX

    print(f'{len(plan)} training runs, {len(finished)} of them finished.', flush=True)
    total = sum(training.work for training in plan)
    done = sum(training.work for training in plan if training.directory in finished)
    began, before = time.monotonic(), done  # `before`: work of earlier processes

    def show(in_progress: int = 0) -> None:
        now = done + in_progress, total, time.monotonic() - began
        print(tqdm.format_meter(*now, initial=before, unit=' training images', ncols=100))

    for number, training in enumerate(plan):
        if training.directory in finished:
            continue
        print(f'=== {number + 1} of {len(plan)}: {training.directory}', flush=True)
        settings, directory = training.config.train, training.directory
        before += last_step(directory) * settings.batch_size

        def on_evaluation(run: pathlib.Path = directory, size: int = settings.batch_size) -> None:
            show(last_step(run) * size)

        with stop_at_once():
            train.train(training.config, directory, on_evaluation)
            score(training)
        done += training.work
        show()
        block = training.seed, training.fraction
        if any((later.seed, later.fraction) != block for later in plan[number + 1 : number + 2]):
            on_block()


def excluded(config: ConfigDict) -> set[int]:
    """Ids of images that a config excludes."""
    return selection.read_exclude(config.data.exclude) if config.data.exclude else set()


def choose(train_ids: np.ndarray, listed: Iterable[int], seed: int) -> tuple[list[int], list[int]]:
    """Returns the listed ids among `train_ids` `[N]`, and equally many random others of these.

    Raises:
      ValueError: no listed image is a training image, or there are too few others.
    """
    listed = sorted(listed)
    worst = np.intersect1d(train_ids, listed)
    others = np.setdiff1d(train_ids, worst)
    if not 0 < len(worst) < len(others):
        raise ValueError(
            f'{len(worst)} of the {len(listed)} images to exclude are among the {len(train_ids)} '
            'training images: nothing to compare.'
        )
    chance = np.random.default_rng([seed, 7]).choice(others, len(worst), replace=False)
    return worst.tolist(), sorted(chance.tolist())


def exclude_from_training(
    config: ConfigDict,
    prepared: coco.Prepared,
    file: pathlib.Path,
    at_random: bool,
    folder: pathlib.Path,
) -> None:
    """Excludes training images only: neither those that choose the checkpoint nor those scored.

    Args:
      config: of a training run; `data.exclude` is set to a new file of `write_ids`, which also
        lists the images that were excluded before.
      prepared: the data set.
      file: image ids, see `selection.read_exclude`.
      at_random: excludes equally many random images that are not listed instead.
      folder: for the new file.

    Raises:
      ValueError: see `choose` and `selection.read_exclude`.
    """
    fingerprint = prepared.fingerprint['id']
    listed = selection.read_exclude(file, fingerprint)
    train_ids = select_examples(prepared, config.data, 'train')[0].image_ids
    chosen = choose(train_ids, listed, config.seed)[at_random]
    ids = sorted({*chosen, *excluded(config)})
    config.data.exclude = str(write_ids(folder, ids, fingerprint))


def use_same_images(
    prepared: coco.Prepared, configs: Mapping[str, ConfigDict], folder: pathlib.Path
) -> None:
    """Makes experiments leave out the images that only some of them can use.

    Args:
      prepared: the data set.
      configs: of the experiments, by name; the lists of excluded images are set.
      folder: for a file with the ids.

    Raises:
      ValueError: a config excludes images itself; or caps, which count before images are left out,
        choose others in each experiment.
    """
    usable = []
    for config in configs.values():
        data = ConfigDict(config.data.to_dict())
        data.update({'folds': 0, 'max_train': 0, 'max_val': 0, 'selection_fraction': 0.0})
        parts = ('train',) if config.data.folds else ('train', 'val')
        ids = [select_examples(prepared, data, part)[0].image_ids for part in parts]
        usable.append(set(np.concatenate(ids).tolist()))
    only_some = sorted(set.union(*usable) - set.intersection(*usable))
    if not only_some:
        return
    print(f'{len(only_some)} images that only some experiments can use are left out.')
    left_out = write_ids(folder, only_some)
    for config in configs.values():
        if config.data.exclude:
            raise ValueError(
                f'data.exclude={config.data.exclude}: these experiments can use different '
                'images, so another list is needed. Exclude images with --exclude.'
            )
        config.data.exclude, config.data.exclude_from = str(left_out), PARTS
    for part in ('train', 'val'):
        used: dict[int, set[str]] = {}  # by cap: experiments may have fewer training images
        for config in configs.values():
            data = ConfigDict(config.data.to_dict())
            data.selection_fraction = 0.0
            chosen = select_examples(prepared, data, part)[0].image_ids
            cap = data.max_train if part == 'train' else 0
            used.setdefault(cap, set()).add(selection.id_digest(chosen))
        if any(len(digests) > 1 for digests in used.values()):
            raise ValueError(
                f'The experiments use different {part} images: some are incomplete for a class, '
                'and data.max_train and data.max_val count before these are left out. Use '
                '--config.data.max_train=0 --config.data.max_val=0.'
            )


def write_ids(folder: pathlib.Path, ids: list[int], fingerprint: str | None = None) -> pathlib.Path:
    """Writes image ids into a file that is named after them: other ids are another config."""
    path = folder / f'{hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:12]}.json'
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {'fingerprint': fingerprint, 'ids': ids} if fingerprint else {'ids': ids})
    return path


def gather(
    plan: list[Training], prepared: coco.Prepared, targets: list[str]
) -> tuple[dict[tuple[str, float], Scored], list[dict]]:
    """Pools the folds of every seed and fraction that is complete.

    Args:
      plan: all training runs.
      prepared: the data set.
      targets: the arrays that the scores have beside `image_id` and `step`.

    Returns:
      What was scored by experiment and fraction, and a row for each training run in it.
    """
    parts: dict[tuple[str, float], list[dict]] = {}
    trainings = []
    for (_, fraction), group in itertools.groupby(plan, lambda t: (t.seed, t.fraction)):
        block: list[tuple[Training, Any]] = [
            (t, load_scores(t.directory, state_of(t, prepared), targets)) for t in group
        ]
        for experiment in dict.fromkeys(t.experiment for t, _ in block):
            mine = [(t, scores) for t, scores in block if t.experiment == experiment]
            # Claims compare experiments, so they need all; a learning curve needs one.
            if any(scores is None for _, scores in (block if fraction == 1 else mine)):
                continue
            pooled: dict[str, Any] = {
                key: np.concatenate([scores[key] for _, scores in mine])
                for key in ('image_id', *targets)
            }
            sizes = [len(scores['image_id']) for _, scores in mine]
            pooled['fold'] = np.repeat([t.fold for t, _ in mine], sizes)
            order = np.argsort(pooled['image_id'])
            pooled = {key: value[order] for key, value in pooled.items()}
            pooled['num_train'] = float(np.mean([t.num_images for t, _ in mine]))
            parts.setdefault((experiment, fraction), []).append(pooled)
            trainings += [
                {
                    'directory': str(t.directory.relative_to(t.directory.parents[1])),
                    'seed': t.config.seed,
                    'steps': t.config.train.num_steps,
                    'best_step': int(scores['step']),
                    'num_train': t.num_images,
                    'num_scored': len(scores['image_id']),
                }
                for t, scores in mine
            ]
    scored = {
        key: Scored(
            {t: np.stack([seed[t] for seed in seeds]) for t in targets},
            *(seeds[0][name] for name in ('image_id', 'fold', 'num_train')),
        )
        for key, seeds in parts.items()
    }
    return scored, trainings
