"""Trains without suspicious images and without as many random ones, and compares the scores.

    python -m analysis.label_issues --workdir runs/fold0 --pool runs/fold1 runs/fold2
    python scripts/experiments/exclude_experiment.py --config configs/person_car.py \
        --workdir runs/exclude --exclude runs/fold0/analysis/val-600/exclude-pooled.json --seeds 5

Images are left out of training only: those on which checkpoints are chosen and scores are made stay
the same. For each seed two trainings, <workdir>/worst-seed<k> and random-seed<k>, which differ in
nothing but the images left out; the random ones are drawn anew for each seed, from those that are
not in the file. --config.<field>=<value> applies to all. Started again, finished trainings are left
alone and an interrupted one continues; after SIGTERM or Ctrl-C the state is saved and the exit
status is 75.

Writes exclude_experiment.json and .md into <workdir>: IoU of both on the validation split, mean
over seeds, and the paired difference with a 95 % interval over images and trainings.
"""

import argparse
import json
import pathlib
import sys

import jax
import numpy as np
from ml_collections import ConfigDict

from analysis.experiments import statistics
from analysis.stage.run import restore_run
from analysis.stats import bootstrap
from scripts.experiments.reproduce import load_scores, save_scores, state_of, stop_at_once
from segmentation import cpu_runtime, evaluate, markdown, metrics, train
from segmentation.config import load_config
from segmentation.data import coco, label_spaces, selection
from segmentation.data.examples import Examples, open_data, select_examples

ARMS = ('worst', 'random')
METRIC_NAMES = {'iou': 'over the set', 'image_iou': 'per image'}


def choose(
    train_ids: np.ndarray, suspicious: set[int], num_seeds: int
) -> dict[tuple[str, int], list[int]]:
    """Images to leave out, by arm and seed.

    Args:
      train_ids: of the training images.
      suspicious: image ids; those that are not trained on anyway do not count.
      num_seeds: number of seeds.

    Raises:
      ValueError: none of the suspicious images is trained on, or too few others are.
    """
    worst = np.array(sorted(suspicious & set(train_ids.tolist())), np.int64)
    others = np.setdiff1d(train_ids, worst)
    if not 0 < len(worst) < len(others):
        raise ValueError(
            f'{len(worst)} of the {len(suspicious)} images to exclude are among the '
            f'{len(train_ids)} training images: nothing to compare.'
        )
    chosen = {}
    for seed in range(num_seeds):
        chosen['worst', seed] = worst.tolist()
        rng = np.random.default_rng([seed, 7])
        chosen['random', seed] = sorted(rng.choice(others, len(worst), replace=False).tolist())
    return chosen


def train_and_score(
    config: ConfigDict,
    directory: pathlib.Path,
    prepared: coco.Prepared,
    examples: Examples,
) -> np.ndarray:
    """Counts `[N, C, C]` of the best checkpoint on some images; trains it if need be."""
    state = state_of(config, prepared)
    if scores := load_scores(directory, state, ['counts']):
        return scores['counts']
    print(f'=== {directory}', flush=True)
    train.train(config, directory)
    run = restore_run(directory, 'best')
    counts = evaluate.evaluate(
        evaluate.make_predict(run.model, run.config.data.input_range),
        run.variables,
        examples,
        num_classes=len(run.class_names),
        batch_size=run.config.eval_batch_size,
        progress=f'score {directory.name}',
    )['network']
    save_scores(directory, state, {'counts': counts})
    # Many trainings in one process: give the compiled programs back.
    jax.clear_caches()
    return counts


def compare(counts: dict[str, np.ndarray], class_names: tuple[str, ...]) -> dict:
    """Scores of both arms and their paired differences, for JSON.

    Args:
      counts: `[S, N, C, C]` by arm.
      class_names: background first.

    Returns:
      By metric ('iou' over the set, 'image_iou' the mean over images) and class or 'foreground
      mean': `worst` and `random`, each `score` and `interval`, and `difference`, see
      `reproduction.paired_test`; None for what does not exist.
    """
    num_images = counts['worst'].shape[1]
    weights = bootstrap.bootstrap_weights(num_images, 2000)
    one_part = np.zeros(num_images, np.int64)
    scores = {arm: statistics.seed_scores(counts[arm], one_part, weights) for arm in ARMS}
    effective = metrics.effective_images(counts['worst'][0])
    result = {}
    for metric in METRIC_NAMES:
        result[metric] = {}
        intervals = {arm: statistics.intervals(scores[arm][metric]) for arm in ARMS}
        differences = scores['worst'][metric] - scores['random'][metric]
        for column, name in enumerate((*class_names, 'foreground mean')):
            matter = effective[column] if column < len(class_names) else effective[1:].min()
            row = {
                'difference': statistics.paired_test(differences, column, float(matter)),
            }
            for arm in ARMS:
                values = intervals[arm]['score'][column], *intervals[arm]['over_both'][column]
                score, low, high = (None if np.isnan(v) else float(v) for v in values)
                row[arm] = {'score': score, 'interval': [low, high]}
            result[metric][name] = row
    return result


def to_markdown(report: dict) -> str:
    """The comparison as a table for each metric."""

    def cell(value, interval, sign=''):
        if value is None:
            return '–'
        text = f'{value:{sign}.3f}'
        if interval is None or interval[0] is None:
            return text
        return f'{text} [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]'

    parts = [
        f'{report["num_excluded"]} of {report["num_train"]} training images left out, the '
        f'suspicious ones or as many random ones; {report["num_seeds"]} seeds; {report["num_val"]} '
        'validation images. In brackets: 95 % intervals over images and, with two seeds or more, '
        'trainings; differences are paired.'
    ]
    for metric, title in METRIC_NAMES.items():
        rows = []
        for name, row in report['scores'][metric].items():
            test = row['difference']
            rows.append(
                (
                    name,
                    *(cell(row[arm]['score'], row[arm]['interval']) for arm in ARMS),
                    cell(test['difference'], test['interval'], '+'),
                    '–' if test['p'] is None else f'{test["p"]:.2g}',
                    cell(test['minimum_detectable'], None),
                )
            )
        header = (
            f'IoU {title}', 'without the worst', 'without random ones', 'difference', 'p',
            'smallest difference that 80 % would find',
        )  # fmt: skip
        parts.append(markdown.table(header, rows))
    return '\n\n'.join(parts) + '\n'


def run(arguments: argparse.Namespace, overrides: list[str]) -> dict:
    """Trains and scores what is missing; returns the report.

    Raises:
      ValueError: an override or the file of images is wrong.
    """
    config = load_config(arguments.config, overrides)
    if config.data.exclude:
        raise ValueError('data.exclude is set by this command: give the file with --exclude.')
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    prepared = open_data(config.data)
    train_ids = select_examples(prepared, config.data, 'train')[0].image_ids
    # Without data.exclude: some data sets use an image id again in another split.
    scored, _ = select_examples(prepared, config.data, 'val')
    suspicious = selection.read_exclude(arguments.exclude, prepared.fingerprint['id'])
    chosen = choose(train_ids, suspicious, arguments.seeds)
    counts = {arm: [] for arm in ARMS}
    for seed in range(arguments.seeds):
        for arm in ARMS:
            directory = arguments.workdir / f'{arm}-seed{seed}'
            path = arguments.workdir / f'{arm}-seed{seed}.json'
            document = {'fingerprint': prepared.fingerprint['id'], 'ids': chosen[arm, seed]}
            path.write_text(json.dumps(document) + '\n')
            mine = ConfigDict(config.to_dict()).lock()
            mine.seed, mine.data.exclude = seed, str(path.resolve())
            # The digest of the file's content would not be in the config: refuse another content.
            marker = directory / 'excluded.json'
            if marker.exists() and json.loads(marker.read_text()) != document:
                raise ValueError(
                    f'{directory} was trained without other images than {path} now lists; choose '
                    'another --workdir.'
                )
            directory.mkdir(exist_ok=True)
            marker.write_text(json.dumps(document) + '\n')
            with stop_at_once():
                counts[arm].append(train_and_score(mine, directory, prepared, scored))
    counts = {arm: np.stack(parts) for arm, parts in counts.items()}
    class_names = label_spaces.parse_label_space(config.data.label_space).class_names
    return {
        'num_seeds': arguments.seeds,
        'num_train': len(train_ids),
        'num_excluded': len(chosen['worst', 0]),
        'num_val': counts['worst'].shape[1],
        'excluded': {f'{arm}-seed{seed}': ids for (arm, seed), ids in chosen.items()},
        'fingerprint': prepared.fingerprint['id'],
        'scores': compare(counts, class_names),
    }


@train.command
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', required=True, help='config file, e.g. configs/person_car.py')
    parser.add_argument('--workdir', required=True, type=pathlib.Path, help='holds all trainings')
    parser.add_argument(
        '--exclude', required=True, type=pathlib.Path, help='images, see labels.read_exclude'
    )
    parser.add_argument('--seeds', type=int, default=3, help='default: %(default)s')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the report here')
    arguments, overrides = parser.parse_known_args(argv)
    if arguments.seeds < 1:
        parser.error('--seeds must be at least 1')
    report = run(arguments, overrides)
    text, shown = json.dumps(report, indent=2, allow_nan=False) + '\n', to_markdown(report)
    (arguments.workdir / 'exclude_experiment.json').write_text(text)
    (arguments.workdir / 'exclude_experiment.md').write_text(shown)
    if arguments.json:
        arguments.json.write_text(text)
    print(shown)
    return 0


if __name__ == '__main__':
    cpu_runtime.configure()
    sys.exit(main())
