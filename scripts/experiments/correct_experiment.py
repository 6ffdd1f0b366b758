"""Does it pay to correct labels, to exclude their images, or to do nothing?

    python scripts/experiments/correct_experiment.py --workdir runs/correct
    python scripts/experiments/correct_experiment.py --workdir runs/correct --rates 0.1 --seeds 2

For each rate, the command draws training scenes of which this share has a label error (of six
kinds), and validation scenes with correct labels. Networks of several folds search the training
scenes for label issues (analysis.label_issues); their suggestions are accepted unseen. Then it
trains, for each seed, on

    nothing    all training scenes as they are
    exclude    those without an accepted suggestion
    correct    all, with the suggestions applied (as scripts/apply_decisions.py does)
    random     as many as exclude, but the others are left out at random
    clean      all, without any label error: what there is to gain

and scores all on the validation scenes. The report has the paired differences with their 95 %
confidence intervals, and the error rate from which each arm pays (README.md has the rule).

The network is that of configs/planted.py; --config.<field>=<value> changes fields. The same command
continues; finished training runs are kept. Writes report.md, report.json and report.png into
WORKDIR, after each rate.
"""

import argparse
import functools
import json
import pathlib
import sys

import msgspec
from ml_collections import ConfigDict

from analysis import registry
from analysis.experiments import corrections as report_lib
from analysis.experiments import reproduction
from analysis.experiments.corrections import ARMS, PAIRS, Rate
from analysis.experiments.records import Origin
from analysis.label_issues.suggestions import suggested
from analysis.stage.run import open_analysis
from segmentation import campaign, launch, scenes
from segmentation.campaign import Training, load_scores, state_of
from segmentation.config import load_config, num_training_steps
from segmentation.data import coco, label_spaces
from segmentation.data.corrections import applying, files
from segmentation.data.corrections.decisions import Correction
from segmentation.data.entries import Skipped
from segmentation.data.examples import open_data, select_examples
from segmentation.files import sha256, write_json, write_text
from segmentation.scenes.planted import label_errors, sampling

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = 'configs/planted.py'
SOURCES = {'correct': 'corrected', 'clean': 'clean'}  # folders of arms with labels of their own
FIXED = {
    'seed', 'data.source', 'data.data_dir', 'data.folds', 'data.fold', 'data.exclude',
    'data.scenes.seed', 'data.scenes.planted', 'data.scenes.error_rate',
}  # fmt: skip


def make_source(drawn: pathlib.Path, source: pathlib.Path, correct: set[str]) -> pathlib.Path:
    """Makes a data set of drawn scenes; splits in `correct` lose their planted label errors."""
    (source / 'annotations').mkdir(parents=True, exist_ok=True)
    for split in ('train', 'val'):
        name = f'annotations/instances_{split}.json'
        document = json.loads((drawn / name).read_text())
        if split in correct:
            _, planted = scenes.read_truth(drawn, split)
            document['annotations'] = scenes.clean_annotations(document['annotations'], planted)
        write_text(source / name, json.dumps(document))
        if not (source / split).is_symlink():
            (source / split).symlink_to((drawn / split).resolve(), target_is_directory=True)
    return source


def find_errors(
    config: ConfigDict, folder: pathlib.Path, folds: int, least: float
) -> list[Correction]:
    """The corrections that networks suggest for images that they were not trained on."""
    from segmentation import train  # here and below: it imports JAX

    found: list[Correction] = []
    for fold in range(folds):
        config = ConfigDict(config.to_dict()).lock()
        config.seed, config.data.folds, config.data.fold = 1000 + fold, folds, fold
        directory = folder / f'fold{fold}'
        train.train(config, directory)
        analysis = open_analysis(directory, 'val')
        found += suggested(analysis, registry.load('label_issues').get(analysis), least)
    return sorted(found, key=lambda correction: -(correction.score or 0))


def make_plan(
    config: ConfigDict, folder: pathlib.Path, prepared: coco.Prepared, seeds: int
) -> list[Training]:
    """The training runs of all arms, seed by seed."""

    plan = []
    name = 'annotations/instances_train.json'
    # The config has their folders alone, and `prepared` is the data set of the other arms.
    truths = {arm: {name: sha256(folder / source / name)} for arm, source in SOURCES.items()}
    for seed in range(seeds):
        for arm in ARMS:
            mine = ConfigDict(config.to_dict()).lock()
            mine.seed = seed
            if arm in SOURCES:
                mine.data.source = str(folder / SOURCES[arm])
            elif arm != 'nothing':
                campaign.exclude_from_training(
                    mine, prepared, folder / 'suggested.json', arm == 'random', folder / 'excluded'
                )
            parts = ['train', 'selection'][: 2 if mine.data.selection_fraction > 0 else 1]
            sizes = [len(select_examples(prepared, mine.data, part)[0]) for part in parts]
            # Of all arms equally many, whatever is excluded.
            mine.train.num_steps = num_training_steps(
                mine.train, len(select_examples(prepared, config.data, 'train')[0])
            )
            directory = folder / arm / f'seed{seed}'
            plan.append(
                Training(arm, seed, 0, 1.0, directory, mine, sum(sizes), truths=truths.get(arm))
            )
    return plan


def score(training: Training, prepared: coco.Prepared) -> None:
    """Scores the best checkpoint on the validation scenes, which all arms share."""
    from segmentation import evaluate, trained

    run = trained.restore_run(training.directory, 'best')
    counted = evaluate.evaluate(
        evaluate.make_predict(run.model, run.config.data.input_range),
        run.variables,
        select_examples(prepared, training.config.data, 'val')[0],
        num_classes=len(run.class_names),
        batch_size=run.config.eval_batch_size,
        progress=f'score {training.directory}',
    )
    scores = {arm: counted['network'] for arm in ARMS} | {
        'step': run.step, 'image_id': counted['image_id'],
    }  # fmt: skip
    campaign.save_scores(training.directory, state_of(training, prepared), scores)


def run_rate(
    config: ConfigDict, arguments: argparse.Namespace, rate: float
) -> tuple[Rate, list[pathlib.Path]]:
    """Runs one error rate; returns its results and the run directories of all arms.

    Raises:
      ValueError: nothing is suggested, or more than half of the images are.
    """
    folder = arguments.workdir / f'rate{100 * rate:g}'
    counts = {'train': config.data.scenes.train, 'val': config.data.scenes.val}
    drawn, each = folder / 'scenes', rate / len(label_errors.KINDS)
    scenes.write_scenes(drawn, counts, arguments.scene_seed, error_rate=each)
    source = make_source(drawn, folder / 'source', {'val'})
    make_source(drawn, folder / 'clean', {'train', 'val'})
    config = ConfigDict(config.to_dict()).lock()
    config.data.source, config.data.data_dir = str(source), str(folder / 'data')
    prepared = open_data(config.data)
    found = find_errors(config, folder / 'folds', arguments.folds, arguments.accept)
    space = label_spaces.parse_label_space(config.data.label_space)
    members = dict(zip(space.class_names[1:], space.members[1:], strict=True))
    written = applying.apply(
        files.find(source), folder / 'corrected', found, Skipped(), members=members
    )
    ids = sorted({correction.image_id for correction in found})
    content = {'fingerprint': prepared.fingerprint['id'], 'ids': ids}
    write_json(folder / 'suggested.json', content)
    plan = make_plan(config, folder, prepared, arguments.seeds)
    finished = {
        training.directory
        for training in plan
        if load_scores(training.directory, state_of(training, prepared), ARMS)
    }
    campaign.run_plan(plan, finished, lambda training: score(training, prepared), lambda: None)
    scored, _ = campaign.gather(plan, prepared, list(ARMS))
    report = reproduction.analyze(scored, dict.fromkeys(ARMS, space.class_names), PAIRS)
    _, planted = scenes.read_truth(drawn, 'train')
    wrong = {scene['image_id'] for scene in planted if scene['error']}
    result = Rate(
        rate=rate,
        errors=len(wrong) / len(planted),
        images=len(planted),
        suggested=len(ids),
        right=len(wrong.intersection(ids)),
        corrected=sum(row[-1] for row in written['train']['corrections']),
        seeds=arguments.seeds,
        scores={
            arm: report.scores[arm]['all images']['iou'][reproduction.MEAN].score for arm in ARMS
        },
        differences=tuple(report_lib.differences(report)),
    )
    return result, [training.directory for training in plan]


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = launch.make_parser(__doc__)
    add = parser.add_argument
    add(
        '--rates', type=float, nargs='+', default=[0.02, 0.1, 0.2], metavar='SHARE',
        help='shares of the training images with a label error',
    )  # fmt: skip
    add('--seeds', type=int, default=5, help='number of training runs of each arm')
    add('--folds', type=int, default=3, help='number of networks that search for errors')
    add(
        '--accept',
        type=float,
        default=0.5,
        metavar='P',
        help='minimum probability of an accepted suggestion',
    )
    add('--scene_seed', type=int, default=scenes.HELD_OUT_SEEDS[0], help='seed of the scenes')
    arguments, overrides = parser.parse_known_args(argv)
    if fixed := {text.partition('=')[0].removeprefix('--config.') for text in overrides} & FIXED:
        parser.error(f'{", ".join(sorted(fixed))} cannot be overridden: this command sets it')
    if arguments.seeds < 1 or arguments.folds < 2 or not 0 <= arguments.accept <= 1:
        parser.error('--seeds must be at least 1, --folds at least 2, --accept from 0 to 1')
    if not all(0 < rate < 1 for rate in arguments.rates):
        parser.error('--rates must be above 0 and below 1')
    most = len(label_errors.KINDS) * sampling.MOST_ERRORS
    if max(arguments.rates) > most:
        parser.error(
            f'--rates {max(arguments.rates):g} is more than the {most:.2f} that is possible'
        )
    arguments.rates = sorted(set(arguments.rates))
    return arguments, overrides


@launch.command
def main(argv: list[str] | None = None) -> int:
    arguments, overrides = parse_arguments(argv)
    from segmentation import cpu_runtime

    if __name__ == '__main__':
        cpu_runtime.configure()
    config = load_config(str(ROOT / CONFIG), overrides)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    command = launch.command_line('scripts/experiments/correct_experiment.py', argv)
    rates: list[Rate] = []
    directories: list[pathlib.Path] = []
    for rate in arguments.rates:
        print(f'=== error rate {100 * rate:g} %', file=sys.stderr, flush=True)
        result, runs = run_rate(config, arguments, rate)
        rates.append(result)
        directories += runs
        origin = Origin.of_runs(directories, command, range(arguments.seeds))
        markdown = report_lib.to_markdown(rates, origin)
        content = {
            'origin': origin,
            'rates': rates,
            'tables': report_lib.make_tables(rates),
        }
        draw = functools.partial(report_lib.figure, rates)
        campaign.write_report(
            arguments.workdir, markdown, draw, msgspec.to_builtins(content), arguments.json
        )
    print(markdown)
    return 0


if __name__ == '__main__':
    sys.exit(main())
