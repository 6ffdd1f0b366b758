"""Trains experiments over seeds and folds, scores them and tests claims about them.

The published experiments, person/car and person/vehicle, with cross-validation:

    python scripts/experiments/reproduce.py --workdir runs/reproduce --source FOLDER \\
        --seeds 3 --folds 5 --config.data.require=nothing --config.train.num_epochs=15

Three encoders: ImageNet weights frozen (the config), ImageNet weights trained, random weights:

    python scripts/experiments/reproduce.py --workdir runs/encoders --experiments person_car \\
        --variant trained model.encoder_trainable=True \\
        --variant random model.encoder_trainable=True model.pretrained=

Does excluding suspicious images help more than excluding random ones?

    python scripts/experiments/reproduce.py --workdir runs/exclude --experiments person_car \\
        --exclude runs/fold0/analysis/val-600/exclude-pooled.json --seeds 5

Each training run has its own directory <workdir>/<experiment>/seed<k>[-fold<j>][-<fraction>]. The
same command continues: it skips finished training runs and resumes an interrupted one. After
SIGTERM or Ctrl-C the state is saved and the exit status is 75. When all folds of a seed are
finished, the command writes or updates report.md, report.json, report.png, and images.json (ids and
folds).

--config.<field>=<value> applies to all experiments. Images that only some experiments can use are
left out of all. Where data.image_size differs, pixels are counted at the size of the first one.
README.md describes folds, variants and --exclude.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import re
import sys
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from analysis.experiments import records
from segmentation import campaign, launch
from segmentation.campaign import Training, load_scores, state_of
from segmentation.config import NEUTRAL_FIELDS, flat, load_config, num_training_steps
from segmentation.data import coco, label_spaces
from segmentation.data.examples import open_data, select_examples
from segmentation.files import write_text

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Set by the options of this command, or the difference between the published experiments.
FIXED = {
    'seed', 'data.source', 'data.folds', 'data.fold', 'data.fraction', 'data.label_space',
    'data.draw_last', 'data.require_of',
}  # fmt: skip
# Must be the same in all experiments, so that they have the same data and count the same pixels.
COMMON = (
    'data.source', 'data.data_dir', 'data.complete', 'data.exclude', 'data.exclude_from',
)  # fmt: skip
# Fields that define the true classes.
TRUTH = ('label_space', 'draw_last', 'overlap', 'crowd')
# Experiments of --exclude, named after the first experiment.
LISTED, RANDOM = '-without_listed', '-without_random'


def base_configs(arguments: argparse.Namespace, overrides: list[str]) -> dict[str, ConfigDict]:
    """The config of each experiment, before seeds, folds and fractions.

    Raises:
      ValueError: an override is unknown or set by this command, or experiments do not fit together.
    """
    given = [text.removeprefix('--config.') for text in overrides]
    given += [text for _, *fields in arguments.variants for text in fields]
    fixed = {text.partition('=')[0] for text in given} & FIXED
    if fixed:
        raise ValueError(
            f'{", ".join(sorted(fixed))} cannot be overridden here: the config files or --source, '
            '--seeds, --folds and --fractions set it.'
        )
    first, path = arguments.experiments[0]
    varied = arguments.experiments[-1][1]
    planned = [(*experiment, ()) for experiment in arguments.experiments]
    planned += [(name, varied, fields) for name, *fields in arguments.variants]
    if arguments.exclude:
        planned += [(first + arm, path, ()) for arm in (LISTED, RANDOM)]
    configs = {}
    for name, path, fields in planned:
        if name in configs:
            raise ValueError(f'Two experiments are named {name}: rename a config file or variant.')
        config = load_config(path, [*overrides, *(f'--config.{text}' for text in fields)])
        config.data.source = arguments.source or config.data.source
        if arguments.folds:
            config.data.folds = arguments.folds
            config.data.train_splits = tuple(
                dict.fromkeys((*config.data.train_splits, *config.data.val_splits))
            )
            caps = config.data.max_train, config.data.max_val
            config.data.max_train = sum(caps) if all(caps) else 0
        configs[name] = config
    for name, config in configs.items():
        mine, reference = flat(config), flat(configs[first])
        differing = [field for field in COMMON if mine[field] != reference[field]]
        if len(class_names(config)) != len(class_names(configs[first])):
            differing.append('the number of classes')
        if differing:
            raise ValueError(
                f'{name} differs from {first} in {", ".join(differing)}: such experiments cannot '
                'be compared. To exclude images from training use --exclude.'
            )
    return configs


def class_names(config: ConfigDict) -> tuple[str, ...]:
    return label_spaces.parse_label_space(config.data.label_space).class_names


def make_plan(
    arguments: argparse.Namespace, prepared: coco.Prepared, configs: dict[str, ConfigDict]
) -> list[Training]:
    """All training runs in their order: whole reports first, then smaller fractions."""

    keys = (
        (seed, fraction, fold, experiment)
        for seed in range(arguments.seeds)
        for fraction in (arguments.fractions if seed < arguments.curve_seeds else [1.0])
        for fold in range(max(arguments.folds, 1))
        for experiment in configs
    )
    plan, steps = [], {}
    truths = {name: [config.data[field] for field in TRUTH] for name, config in configs.items()}
    size = next(iter(configs.values())).data.image_size
    for seed, fraction, fold, experiment in keys:
        config = ConfigDict(configs[experiment].to_dict()).lock()
        # Another seed for each fold and fraction: intervals assume that training runs are
        # independent.
        config.seed = round(1e6 * (1 - fraction)) + seed * max(arguments.folds, 1) + fold
        config.data.fold, config.data.fraction = fold, fraction
        if arguments.exclude and experiment.endswith((LISTED, RANDOM)):
            at_random, folder = experiment.endswith(RANDOM), arguments.workdir / 'excluded'
            campaign.exclude_from_training(config, prepared, arguments.exclude, at_random, folder)
        parts = ['train', 'selection'][: 2 if config.data.selection_fraction > 0 else 1]
        sizes = [len(select_examples(prepared, config.data, part)[0]) for part in parts]
        # Equal steps for all fractions: those of the whole training set, which comes first.
        if fraction == 1:
            steps[experiment, fold] = num_training_steps(config.train, sizes[0])
        config.train.num_steps = steps[experiment, fold]
        name = f'seed{seed}' + (f'-fold{fold}' if arguments.folds else '')
        name += f'-{fraction:g}' if fraction < 1 else ''
        directory = arguments.workdir / experiment / name
        grid = None if config.data.image_size == size else size
        place = experiment, seed, fold, fraction, directory
        plan.append(Training(*place, config, sum(sizes), grid, truths))
    return plan


def score(training: Training, prepared: coco.Prepared, configs: dict[str, ConfigDict]) -> None:
    """Scores the best checkpoint against the true classes of every experiment.

    Writes `scores.npz`: `image_id` `[N]`, for each experiment and of `ALSO` the confusion matrices
    `[N, C, C]` against its classes, `step` of the checkpoint, and `state`.
    """
    from analysis.experiments import reproduction
    from segmentation import evaluate, trained

    run = trained.restore_run(training.directory, 'best')
    predict = evaluate.make_predict(run.model, run.config.data.input_range)
    result: dict[str, Any] = {'step': run.step}

    def count(target: str, kind: str = '') -> np.ndarray:
        """Confusion matrices against an experiment's classes; `kind` is one of `ALSO`."""
        data = ConfigDict(configs[target].data.to_dict())
        data.fold, data.antialias = training.fold, run.config.data.antialias
        data.image_size = run.config.data.image_size
        examples, _ = select_examples(prepared, data, 'val')
        truth = examples.full_label if kind == 'full' else None
        if training.size and not truth:
            counted_at = ConfigDict({**data.to_dict(), 'image_size': training.size})
            truth = select_examples(prepared, counted_at, 'val')[0].label
        counted = evaluate.evaluate(
            evaluate.with_mirrored(predict) if kind == 'mirrored' else predict,
            run.variables,
            examples,
            num_classes=len(run.class_names),
            batch_size=run.config.eval_batch_size,
            progress=f'score {training.directory.name} against {target} {kind}'.rstrip(),
            truth=truth,
        )
        image_ids = counted['image_id']
        if not np.array_equal(result.setdefault('image_id', image_ids), image_ids):
            raise ValueError(f'{target} selects other images than {next(iter(configs))}.')
        return counted['network']

    by_truth: dict[tuple, np.ndarray] = {}
    for target, config in configs.items():
        truth = tuple(config.data[field] for field in TRUTH)
        if truth not in by_truth:
            by_truth[truth] = count(target)
        result[target] = by_truth[truth]
    result |= {kind: count(training.experiment, kind) for kind in reproduction.ALSO}
    campaign.save_scores(training.directory, state_of(training, prepared), result)


def differences(config: ConfigDict, experiment: str) -> list[str]:
    """Fields in which a config differs from the published experiment, 'name = value' each."""
    from analysis.experiments import reproduction

    published = experiment if experiment in reproduction.PUBLISHED else 'person_car'
    full = flat(load_config(str(ROOT / f'configs/{published}.py'), []))
    mine = flat(config)
    shown = {**mine, **{f: pathlib.Path(mine[f]).name for f in ('data.source', 'data.exclude')}}
    return [
        f'{name} = {shown[name]}'
        for name in mine
        # Drawn scenes are never the published data.
        if mine[name] != full[name] and not name.startswith('data.scenes.')
        if name not in NEUTRAL_FIELDS
    ]


def make_report(
    arguments: argparse.Namespace,
    plan: list[Training],
    prepared: coco.Prepared,
    configs: dict[str, ConfigDict],
    argv: list[str] | None,
) -> str | None:
    """Reports the complete seeds; returns the report as Markdown, None if no seed is complete."""
    from analysis.experiments import reproduction, tables

    first, *others = configs
    scored, trainings = campaign.gather(plan, prepared, [*configs, *reproduction.ALSO])
    if (first, 1.0) not in scored:
        return None
    pairs = [(first, other) for other in others]
    varied = arguments.experiments[-1][0]
    pairs += [(varied, name) for name, *_ in arguments.variants if varied != first]
    if arguments.exclude:
        pairs.append((first + RANDOM, first + LISTED))
    names = {name: class_names(config) for name, config in configs.items()}
    report = dataclasses.asdict(reproduction.analyze(scored, names, pairs))
    main_part = scored[first, 1.0]
    described = json.loads((plan[0].directory / 'run.json').read_text())
    command = launch.command_line('scripts/experiments/reproduce.py', argv)
    seeds = sorted({training['seed'] for training in trainings})
    runs = [arguments.workdir / training['directory'] for training in trainings]
    origin = records.Origin.of_runs(runs, command, seeds)
    report['origin'] = dataclasses.asdict(origin)
    report['setup'] = {
        'folds': arguments.folds,
        'seeds': len(main_part.targets[first]),
        'num_images': len(main_part.image_id),
        'num_train': main_part.num_train,
        'num_steps': plan[0].config.train.num_steps,
        'batch_size': plan[0].config.train.batch_size,
        'image_size': plan[0].config.data.image_size,
        'packages': described['packages'],
        'differs_from_published': differences(configs[first], first),
        'trainings': trainings,
    }
    markdown, workdir = tables.to_markdown(report), arguments.workdir
    draw = functools.partial(tables.figure, report)
    campaign.write_report(workdir, markdown, draw, report, arguments.json)
    write_text(workdir / 'images.json', images_json(prepared, plan[0].config, main_part))
    return markdown


def images_json(prepared: coco.Prepared, config: ConfigDict, scored: campaign.Scored) -> str:
    """The image ids used, from which anyone who has COCO can rebuild the subset."""
    content = {'fingerprint': prepared.fingerprint['id'], 'scored': scored.image_id.tolist()}
    if config.data.folds:
        folds = zip(map(str, content['scored']), scored.fold.tolist(), strict=True)
        content |= {'folds': config.data.folds, 'fold_of': dict(folds)}
    else:
        for part in ('train', 'selection'):
            examples, _ = select_examples(prepared, config.data, part)
            content[part] = sorted(examples.image_ids.tolist())
    return json.dumps(content) + '\n'


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = launch.make_parser(__doc__)
    add = parser.add_argument
    add('--source', help="'2014' (downloads it) or a folder with data; default: as in the configs")
    add(
        '--experiments',
        default='person_car,vehicle',
        metavar='NAME,NAME,…',
        help='config files, or names of files in configs/ (person_car_best has the best '
        'recipe); the first one is the reference',
    )
    add(
        '--variant',
        dest='variants',
        nargs='+',
        action='append',
        default=[],
        metavar=('NAME', 'FIELD=VALUE'),
        help='one more experiment: the last of --experiments with other settings; can be repeated',
    )
    add(
        '--exclude',
        type=pathlib.Path,
        metavar='FILE',
        help='two more experiments: the first one trained without the images listed here (see '
        'selection.read_exclude), and without equally many random ones',
    )
    add('--seeds', type=int, default=3, help='number of training runs of each experiment and fold')
    add(
        '--folds',
        type=int,
        default=0,
        help='cross-validation over training and validation images together; '
        'default: none, the validation split is scored',
    )
    add(
        '--fractions',
        default='1',
        help='fractions of the training set for a learning curve, e.g. 0.125,0.25,0.5,1; each is '
        'trained for as many steps as the whole set',
    )
    add('--curve_seeds', type=int, help='number of seeds for the smaller fractions; default: all')
    add('--report_only', action='store_true', help='train nothing; report complete seeds')
    arguments, overrides = parser.parse_known_args(argv)
    arguments.experiments = [
        (pathlib.Path(name).stem, name if '.' in name else str(ROOT / f'configs/{name}.py'))
        for name in dict.fromkeys(arguments.experiments.split(','))
    ]
    if wrong := [name for name, *_ in arguments.variants if not re.fullmatch(r'\w[\w.+-]*', name)]:
        parser.error(f'--variant {wrong[0]!r}: a name has letters, digits, ".", "_", "+", "-" only')
    if unknown := [path for _, path in arguments.experiments if not pathlib.Path(path).is_file()]:
        parser.error(f'unknown experiments: there is no file {", ".join(unknown)}')
    try:
        fractions = {float(text) for text in arguments.fractions.split(',')}
    except ValueError:
        parser.error(f'--fractions are numbers such as 0.125,0.5,1, not {arguments.fractions!r}')
    if not all(0 < fraction <= 1 for fraction in fractions):
        parser.error(f'--fractions must be above 0 and at most 1, not {arguments.fractions}')
    # The whole set is always included: scores and claims need it.
    arguments.fractions = sorted(fractions | {1.0}, reverse=True)
    if arguments.seeds < 1 or arguments.folds == 1 or arguments.folds < 0:
        parser.error('--seeds must be at least 1, --folds 0 (none) or at least 2')
    if arguments.curve_seeds is None:
        arguments.curve_seeds = arguments.seeds
    return arguments, overrides


@launch.command
def main(argv: list[str] | None = None) -> int:
    arguments, overrides = parse_arguments(argv)
    from segmentation import cpu_runtime

    if __name__ == '__main__':
        cpu_runtime.configure()
    configs = base_configs(arguments, overrides)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    prepared = open_data(next(iter(configs.values())).data)
    campaign.use_same_images(prepared, configs, arguments.workdir / 'left_out')
    plan = make_plan(arguments, prepared, configs)
    report = functools.partial(make_report, arguments, plan, prepared, configs, argv)
    if not arguments.report_only:
        from analysis.experiments.reproduction import ALSO

        targets = [*configs, *ALSO]
        finished = {
            t.directory for t in plan if load_scores(t.directory, state_of(t, prepared), targets)
        }
        campaign.run_plan(plan, finished, lambda t: score(t, prepared, configs), report)
    markdown = report()
    if markdown is None:
        text = 'No seed is complete yet, or its scores are of an older version of the code.'
        print(f'{text} Without --report_only, what is missing is computed.', file=sys.stderr)
        return 1
    print(markdown)
    print(f'Written to {arguments.workdir}: report.md, report.json, report.png, images.json')
    return 0


if __name__ == '__main__':
    sys.exit(main())
