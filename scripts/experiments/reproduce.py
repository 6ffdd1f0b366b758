"""Runs the published experiments, scores them and tests what is claimed of them.

    python scripts/experiments/reproduce.py --workdir runs/reproduce --source FOLDER \
        --seeds 3 --folds 5 --config.data.require=nothing --config.train.num_epochs=15

Each training has its own directory <workdir>/<experiment>/seed<k>[-fold<j>][-<fraction>]. Started
again, finished trainings are left alone and an interrupted one continues; after SIGTERM or Ctrl-C
the state is saved and the exit status is 75. The report is written as soon as every fold of a seed
is there, and again as more are: report.md, report.json, report.png, and images.json with the image
ids used and their folds.

--config.<field>=<value> applies to all experiments. Images that one of them cannot use (because
trucks are not annotated there, say) are left out of both. With folds, training and validation
splits are pooled and each image is scored by the one model of five, say, that never saw it.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import shlex
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np
from ml_collections import ConfigDict

from analysis.experiments import tables as experiment_tables
from analysis.stage.run import restore_run
from segmentation import cpu_runtime, evaluate, train
from segmentation.config import flat, load_config
from segmentation.data import coco, label_spaces, selection
from segmentation.data.examples import open_data, select_examples

CONFIGS = {
    'person_car': 'configs/person_car.py',
    'vehicle': 'configs/vehicle.py',
    'person_car_best': 'configs/person_car_best.py',
}
PUBLISHED = 'person_car,vehicle'
ROOT = pathlib.Path(__file__).resolve().parents[2]
# Set by the options of this command, or what makes the two experiments what they are.
FIXED = {
    'seed', 'data.source', 'data.folds', 'data.fold', 'data.fraction', 'data.label_space',
    'data.draw_last', 'data.require_of',
}  # fmt: skip
# Fields that do not change a result.
IDLE = {
    'data.data_dir', 'data.threads', 'data.prefetch', 'data.workers', 'data.scenes.train',
    'data.scenes.val', 'data.scenes.seed', 'data.scenes.planted', 'data.scenes.error_rate',
    'train.log_every', 'train.num_pictures', 'train.keep_every', 'train.checkpoint_every',
    'eval_batch_size',
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Training:
    """One training of the plan."""

    experiment: str
    seed: int
    fold: int
    fraction: float
    directory: pathlib.Path
    config: ConfigDict
    num_images: int  # for training and for choosing the checkpoint

    @property
    def work(self) -> int:
        """Training images that it sees, with repetitions."""
        return self.config.train.num_steps * self.config.train.batch_size


def base_configs(arguments: argparse.Namespace, overrides: list[str]) -> dict[str, ConfigDict]:
    """The config of each experiment, before seeds, folds and fractions.

    Raises:
      ValueError: an override is unknown or set by this command itself.
    """
    fixed = {name.partition('=')[0].removeprefix('--config.') for name in overrides} & FIXED
    if fixed:
        raise ValueError(
            f'{", ".join(sorted(fixed))} cannot be overridden here: the experiments or --source, '
            '--seeds, --folds and --fractions set it.'
        )
    configs = {}
    for experiment in arguments.experiments:
        config = load_config(str(ROOT / CONFIGS[experiment]), overrides)
        config.data.source = arguments.source
        if arguments.folds:
            config.data.folds = arguments.folds
            config.data.train_splits = tuple(
                dict.fromkeys((*config.data.train_splits, *config.data.val_splits))
            )
            caps = config.data.max_train, config.data.max_val
            config.data.max_train = sum(caps) if all(caps) else 0
        configs[experiment] = config
    return configs


def images_of_one(prepared: coco.Prepared, configs: dict[str, ConfigDict]) -> list[int]:
    """Ids of images that some but not all experiments can use."""
    used = []
    for config in configs.values():
        data = ConfigDict(config.data.to_dict())
        data.update({'folds': 0, 'max_train': 0, 'max_val': 0, 'selection_fraction': 0.0})
        parts = ('train',) if config.data.folds else ('train', 'val')
        used.append(
            {
                int(image_id)
                for part in parts
                for image_id in select_examples(prepared, data, part)[0].image_ids
            }
        )
    return sorted(set.union(*used) - set.intersection(*used))


def leave_out(image_ids: list[int], workdir: pathlib.Path, configs: dict[str, ConfigDict]) -> None:
    """Adds images to those that the configs exclude, through a file in `workdir`."""
    given = next(iter(configs.values())).data.exclude
    everything = sorted({*image_ids, *(selection.read_exclude(given) if given else ())})
    path = workdir / 'left_out.json'
    write(path, json.dumps({'ids': everything}) + '\n')
    for config in configs.values():
        config.data.exclude = str(path)


def make_plan(
    arguments: argparse.Namespace, prepared: coco.Prepared, configs: dict[str, ConfigDict]
) -> list[Training]:
    """All trainings in the order in which they run: whole reports first, then what refines them."""
    plan, sizes, steps = [], {}, {}
    for seed in range(arguments.seeds):
        fractions = arguments.fractions if seed < arguments.curve_seeds else [1.0]
        for fraction in fractions:
            for fold in range(max(arguments.folds, 1)):
                for experiment, base in configs.items():
                    config = ConfigDict(base.to_dict()).lock()
                    config.seed, config.data.fold, config.data.fraction = seed, fold, fraction
                    key = experiment, fold, fraction
                    if key not in sizes:
                        parts = ['train']
                        if config.data.selection_fraction > 0:
                            parts.append('selection')
                        lengths = [
                            len(select_examples(prepared, config.data, part)[0]) for part in parts
                        ]
                        sizes[key] = sum(lengths)
                        # Equal steps for all fractions: those of the whole training set.
                        if fraction == 1:
                            steps[experiment, fold] = train.num_training_steps(
                                config.train, lengths[0]
                            )
                    config.train.num_steps = steps[experiment, fold]
                    name = f'seed{seed}'
                    name += f'-fold{fold}' if arguments.folds else ''
                    name += f'-{fraction:g}' if fraction < 1 else ''
                    directory = arguments.workdir / experiment / name
                    plan.append(
                        Training(
                            experiment, seed, fold, fraction, directory, config, sizes[key]
                        )
                    )  # fmt: skip
    return plan


def state_of(config: ConfigDict, prepared: coco.Prepared) -> str:
    """What the scores of a finished training depend on, as JSON."""
    return json.dumps([config.to_dict(), prepared.fingerprint['id']], sort_keys=True)


def load_scores(directory: pathlib.Path, state: str, targets: Iterable[str]) -> dict | None:
    """The saved counts of a finished training, or None if there are none that fit."""
    path = directory / 'scores.npz'
    try:
        # The zip file's checksums notice changed bits.
        with np.load(path, allow_pickle=False) as arrays:
            scores = dict(arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        print(f'{path} cannot be read ({error}); scoring again.', file=sys.stderr)
        return None
    return scores if str(scores.get('state')) == state and set(targets) <= scores.keys() else None


def save_scores(directory: pathlib.Path, state: str, scores: dict[str, np.ndarray]) -> None:
    """Writes `scores.npz` by way of another name, so that a file that exists is whole."""
    temporary = directory / 'scores.tmp'
    with temporary.open('wb') as file:
        np.savez(file, state=state, **scores)
    temporary.replace(directory / 'scores.npz')


def score(training: Training, prepared: coco.Prepared, configs: dict[str, ConfigDict]) -> None:
    """Counts the best checkpoint's hits against the true classes of every experiment.

    Writes `scores.npz`: `image_id` `[N]`, by experiment the counts `[N, C, C]` against its classes,
    `step` of the checkpoint, and `state`.
    """
    run = restore_run(training.directory, 'best')
    predict = evaluate.make_predict(run.model, run.config.data.input_range)
    result = {'step': run.step}
    for target, config in configs.items():
        data = ConfigDict(config.data.to_dict())
        data.fold = training.fold
        examples, _ = select_examples(prepared, data, 'val')
        counted = evaluate.evaluate(
            predict,
            run.variables,
            examples,
            num_classes=len(run.class_names),
            batch_size=run.config.eval_batch_size,
            progress=f'score {training.directory.name} against {target}',
        )
        if not np.array_equal(result.setdefault('image_id', counted['image_id']),
                              counted['image_id']):  # fmt: skip
            raise ValueError('The experiments do not select the same images: see left_out.json.')
        result[target] = counted['network']
    save_scores(training.directory, state_of(training.config, prepared), result)


def last_step(training: Training) -> int:
    """Steps done, by the last whole line of the metrics."""
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        lines = (training.directory / 'metrics.jsonl').read_text().splitlines()
        return int(json.loads(lines[-1])['step'])
    return 0


class Estimate:
    """How long the whole will take, from the speed of this process so far."""

    def __init__(self, plan: list[Training], done: int):
        self.total, self.done = sum(training.work for training in plan), done
        self.began, self.before = time.monotonic(), done  # `before`: not done by this process

    def show(self, in_progress: int = 0) -> None:
        """Prints it; `in_progress` is the number of images of a training that is not finished."""
        done = self.done + in_progress
        speed = (done - self.before) / (time.monotonic() - self.began)
        if speed > 0:
            seconds = (self.total - done) / speed
            print(
                f'\nestimate: {done / self.total:.0%} of the whole is done, '
                f'{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f} hours to go at {speed:.1f} '
                'training images per second, evaluation included',
                flush=True,
            )


@contextlib.contextmanager
def stop_at_once() -> Iterator[None]:
    """Turns SIGTERM and Ctrl-C into `TrainingStopped` where `train.train` does not heed them.

    That is while a training is set up or scored, and there is nothing to save.
    """

    def stop(number, frame):
        del number, frame
        raise train.TrainingStopped('Stopped between two trainings.')

    numbers = signal.SIGTERM, signal.SIGINT
    previous = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


def run_plan(
    plan: list[Training],
    prepared: coco.Prepared,
    configs: dict[str, ConfigDict],
    on_block: Callable[[], object],
) -> None:
    """Trains and scores what is not there yet; `on_block` is called when a block is complete.

    Raises:
      train.TrainingStopped: SIGTERM or Ctrl-C.
      ValueError, train.TrainingDiverged: see `train.train`.
    """
    targets = list(configs)
    finished = {
        training.directory
        for training in plan
        if load_scores(training.directory, state_of(training.config, prepared), targets)
    }
    print(f'{len(plan)} trainings, {len(finished)} of them finished.', flush=True)
    estimate = Estimate(plan, sum(t.work for t in plan if t.directory in finished))
    for number, training in enumerate(plan):
        if training.directory in finished:
            continue
        print(f'=== {number + 1} of {len(plan)}: {training.directory}', flush=True)
        batch_size = training.config.train.batch_size
        estimate.before += last_step(training) * batch_size

        def show(training=training, batch_size=batch_size):
            estimate.show(last_step(training) * batch_size)

        with stop_at_once():
            result = train.train(training.config, training.directory, show)
            if result['step'] != training.config.train.num_steps:
                raise ValueError(
                    f'{training.directory} was trained for {result["step"]} steps, which is more '
                    f'than the {training.config.train.num_steps} of this plan. Choose another '
                    '--workdir for a smaller budget.'
                )
            score(training, prepared, configs)
            # Dozens of trainings in one process: give the compiled programs back.
            jax.clear_caches()
        estimate.done += training.work
        estimate.show()
        block = training.seed, training.fraction
        if any((later.seed, later.fraction) != block for later in plan[number + 1 : number + 2]):
            on_block()


def gather(
    plan: list[Training], prepared: coco.Prepared, targets: list[str]
) -> tuple[dict, list[dict]]:
    """Pools the folds of every seed and fraction that is complete.

    Returns:
      `scored` for `reproduction_report.analyse`, with `image_id` `[N]`, rising; and the trainings.
    """
    blocks, parts, trainings = {}, {}, []
    for training in plan:
        state = state_of(training.config, prepared)
        scores = load_scores(training.directory, state, targets)
        blocks.setdefault((training.seed, training.fraction), []).append((training, scores))
    for (_, fraction), block in blocks.items():
        # Claims are about the whole set; a learning curve can be of one experiment.
        if fraction == 1 and any(scores is None for _, scores in block):
            continue
        for experiment in targets:
            mine = [(t, scores) for t, scores in block if t.experiment == experiment]
            if any(scores is None for _, scores in mine):
                continue
            pooled = {
                key: np.concatenate([scores[key] for _, scores in mine])
                for key in ('image_id', *targets)
            }
            pooled['fold'] = np.concatenate(
                [np.full(len(scores['image_id']), t.fold) for t, scores in mine]
            )
            order = np.argsort(pooled['image_id'])
            pooled = {key: value[order] for key, value in pooled.items()}
            pooled['num_train'] = np.mean([t.num_images for t, _ in mine])
            parts.setdefault((experiment, fraction), []).append(pooled)
            trainings += [
                {
                    'directory': str(t.directory.relative_to(t.directory.parents[1])),
                    'steps': t.config.train.num_steps,
                    'best_step': int(scores['step']),
                    'num_train': t.num_images,
                    'num_scored': len(scores['image_id']),
                }
                for t, scores in mine
            ]
    scored = {
        key: {
            'image_id': seeds[0]['image_id'],
            'fold': seeds[0]['fold'],
            'num_train': float(seeds[0]['num_train']),
            'targets': {t: np.stack([seed[t] for seed in seeds]) for t in targets},
        }
        for key, seeds in parts.items()
    }
    return scored, trainings


def differences(config: ConfigDict, experiment: str) -> list[str]:
    """Fields by which a config is not the full one, 'name = value' each."""
    full = flat(load_config(str(ROOT / CONFIGS[experiment]), []).to_dict())
    mine = flat(config.to_dict())
    shown = {**mine, 'data.source': pathlib.Path(mine['data.source']).name}
    shown['data.exclude'] = pathlib.Path(mine['data.exclude']).name
    return [
        f'{name} = {shown[name]}' for name in mine if mine[name] != full[name] and name not in IDLE
    ]


def make_report(
    arguments: argparse.Namespace,
    plan: list[Training],
    prepared: coco.Prepared,
    configs: dict[str, ConfigDict],
    argv: list[str],
) -> str | None:
    """Writes the report of what is complete; returns it as Markdown, or None if nothing is."""
    targets = list(configs)
    scored, trainings = gather(plan, prepared, targets)
    if (targets[0], 1.0) not in scored:
        return None
    class_names = {
        name: label_spaces.parse_label_space(config.data.label_space).class_names
        for name, config in configs.items()
    }
    main_part, first = scored[targets[0], 1.0], plan[0]
    described = json.loads((first.directory / 'run.json').read_text())
    report = experiment_tables.analyse(scored, class_names)
    report['setup'] = {
        'command': shlex.join(['python', 'scripts/experiments/reproduce.py', *argv]).replace(
            '\n', ' '
        ),
        'fingerprint': prepared.fingerprint['id'],
        'folds': arguments.folds,
        'seeds': len(main_part['targets'][targets[0]]),
        'num_images': len(main_part['image_id']),
        'num_train': main_part['num_train'],
        'num_steps': first.config.train.num_steps,
        'batch_size': first.config.train.batch_size,
        'devices': sorted({name.partition(':')[0] for name in described['devices']}),
        'code': described['code'],
        'packages': described['packages'],
        'differs_from_published': differences(configs[targets[0]], targets[0]),
        'trainings': trainings,
    }
    markdown = experiment_tables.to_markdown(report)
    workdir = arguments.workdir
    text = json.dumps(report, indent=2, allow_nan=False) + '\n'
    write(workdir / 'report.json', text)
    write(workdir / 'report.md', markdown)
    experiment_tables.figure(report, workdir / 'report.png')
    write(workdir / 'images.json', images_json(prepared, plan, main_part))
    if arguments.json:
        arguments.json.write_text(text)
    return markdown


def images_json(prepared: coco.Prepared, plan: list[Training], scored: dict) -> str:
    """The image ids used, by which anyone who has COCO can rebuild the subset."""
    config = next(training.config for training in plan if training.fraction == 1)
    content = {'fingerprint': prepared.fingerprint['id'], 'scored': scored['image_id'].tolist()}
    if config.data.folds:
        folds = zip(content['scored'], scored['fold'].tolist(), strict=True)
        content |= {'folds': config.data.folds, 'fold_of': {str(key): fold for key, fold in folds}}
    else:
        for part in ('train', 'selection'):
            examples, _ = select_examples(prepared, config.data, part)
            content[part] = sorted(examples.image_ids.tolist())
    return json.dumps(content) + '\n'


def write(path: pathlib.Path, text: str) -> None:
    """Replaces a file as a whole."""
    temporary = path.with_name(f'{path.name}.tmp')
    temporary.write_text(text)
    temporary.replace(path)


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help='holds everything')
    parser.add_argument(
        '--source',
        default='2014',
        help="'2014' (downloads COCO 2014) or a folder in COCO's layout; default: %(default)s",
    )
    parser.add_argument(
        '--experiments',
        default=PUBLISHED,
        help='which ones; person_car_best has the settings that a sweep chose instead of the '
        'published ones; default: %(default)s',
    )
    parser.add_argument('--seeds', type=int, default=3, help='trainings each; default: %(default)s')
    parser.add_argument(
        '--folds',
        type=int,
        default=0,
        help='cross-validation over training and validation images together; '
        'default: none, the validation split is scored',
    )
    parser.add_argument(
        '--fractions',
        default='1',
        help='shares of the training set for a learning curve, e.g. 0.125,0.25,0.5,1; all are '
        'trained for as many steps as the whole set; default: %(default)s',
    )
    parser.add_argument(
        '--curve_seeds',
        type=int,
        help='how many of the seeds are trained on the smaller shares too; default: all',
    )
    parser.add_argument(
        '--report_only', action='store_true', help='train nothing; report what is complete'
    )
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the report here')
    arguments, overrides = parser.parse_known_args(argv)
    arguments.experiments = list(dict.fromkeys(arguments.experiments.split(',')))
    if unknown := set(arguments.experiments) - CONFIGS.keys():
        parser.error(f'unknown experiments {sorted(unknown)}; there are {", ".join(CONFIGS)}')
    arguments.experiments.sort(key=list(CONFIGS).index)
    try:
        fractions = {float(text) for text in arguments.fractions.split(',')}
    except ValueError:
        parser.error(f'--fractions are numbers such as 0.125,0.5,1, not {arguments.fractions!r}')
    if not all(0 < fraction <= 1 for fraction in fractions):
        parser.error(f'--fractions must be above 0 and at most 1, not {arguments.fractions}')
    # The whole set is always trained on: scores and claims are about it.
    arguments.fractions = sorted(fractions | {1.0}, reverse=True)
    if arguments.seeds < 1 or arguments.folds == 1 or arguments.folds < 0:
        parser.error('--seeds must be at least 1, --folds 0 (none) or at least 2')
    if arguments.curve_seeds is None:
        arguments.curve_seeds = arguments.seeds
    return arguments, overrides


@train.command
def main(argv: list[str] | None = None) -> int:
    arguments, overrides = parse_arguments(argv)
    configs = base_configs(arguments, overrides)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    prepared = open_data(next(iter(configs.values())).data)
    if only_one := images_of_one(prepared, configs):
        print(f'{len(only_one)} images that not every experiment can use are left out.')
        leave_out(only_one, arguments.workdir, configs)
    plan = make_plan(arguments, prepared, configs)

    def report():
        return make_report(
            arguments, plan, prepared, configs, sys.argv[1:] if argv is None else argv
        )

    if not arguments.report_only:
        run_plan(plan, prepared, configs, report)
    markdown = report()
    if markdown is None:
        print('No seed is complete yet: there is nothing to report.', file=sys.stderr)
        return 1
    print(markdown)
    print(f'Written to {arguments.workdir}: report.md, report.json, report.png, images.json')
    return 0


if __name__ == '__main__':
    cpu_runtime.configure()
    sys.exit(main())
