"""Scores the whole analysis against planted truth: how often is it right?

    python scripts/experiments/score_analysis.py --workdir runs/score
    python scripts/experiments/score_analysis.py --workdir runs/score_development --scene_seeds 0
    python scripts/experiments/score_analysis.py --workdir runs/score_short --short

For each scene seed, the command draws scenes with planted truth (segmentation/scenes), trains a
network on them (configs/planted.py; --config.<field>=<value> changes fields), runs the stages of
the analysis on its best checkpoint and the validation scenes, and compares their results with the
planted truth, which neither training nor analysis reads. The analysis was developed on seeds 0 to
3. analysis/planted_benchmark/README.md describes metrics, settings and results.

--short is a smoke test of minutes: few small scenes of seed 0 and a narrow network. It does not
measure quality. It skips heat-maps and coverage, has lower targets, and ends with status 1 if one
is missed.

Started again, the command continues. Writes report.md, report.json and report.png into WORKDIR.
"""

import argparse
import functools
import pathlib
import sys

from ml_collections import ConfigDict

from analysis import registry
from analysis.experiments.records import Origin
from analysis.planted_benchmark import tables as truth_tables
from analysis.planted_benchmark.tables import Report, SeedScores, Target
from analysis.stage import artifacts, storage
from analysis.stage.run import open_analysis
from segmentation import campaign, launch, scenes
from segmentation.config import load_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = 'configs/planted.py'
FIXED = {'seed', 'data.source', 'data.data_dir', 'data.scenes.seed', 'data.scenes.planted'}
# Stages whose results are scored.
STAGES = (
    'predictions', 'samples', 'embeddings', 'clusters', 'similarity_map', 'similar',
    'associations', 'slices', 'label_issues', 'objects',
)  # fmt: skip
NUM_TABLES = NUM_SAMPLES = 1000  # over all seeds
HEAT_MAP_IMAGES = 600

# Small enough for minutes. So few steps teach nothing: random features distinguish scene types
# better than those of a network that has just begun to learn.
SHORT_SEEDS = (0,)
SHORT_FIELDS = {
    'data.scenes.train': 64,
    'data.scenes.val': 180,
    'data.scenes.error_rate': 0.06,
    'data.image_size': 64,
    'model.width': 0.35,
    'optimizer.learning_rate': 1e-4,
    'train.num_steps': 8,
    'train.eval_every': 8,
    'train.recalibrate_batches': 0,
    'train.num_pictures': 0,
}
SHORT_TABLES = 20
# Means of a single seed. At chance, the first would be 0 and the precision 0.17.
SHORT_TARGETS = {
    'clusters/AMI with scene type, ours': Target(0.08),
    'clusters/AMI above color histograms': Target(0.02),
    'similar/precision@10 by scene type, fetched': Target(0.3),
    'attributes/AUROC by neighbors, night, ours': Target(0.85),
    'map/trustworthiness, 2-D': Target(0.8),
    'label issues/average precision, wrong class': Target(0.5),
    'label issues/average precision, sloppy outline': Target(0.3),
    # 99.9th percentile for 20 tables if 5 % of tables have one.
    'null tables/share with a discovery': Target(high=0.25),
    'null tables/share with a slice': Target(high=0.25),
}


def prepare(config: ConfigDict, workdir: pathlib.Path, seed: int) -> pathlib.Path:
    """Draws the scenes of a seed, and makes them a config's data; returns their folder."""
    drawn = config.data.scenes
    folder = workdir / f'scenes{seed}'
    counts = {'train': drawn.train, 'val': drawn.val}
    version = scenes.WITH_HIDDEN_SLICES
    scenes.write_scenes(folder, counts, seed, error_rate=drawn.error_rate, planted_version=version)
    config.data.source, config.data.data_dir = str(folder), str(workdir / 'data')
    return folder


def score_seed(
    config: ConfigDict, workdir: pathlib.Path, seed: int, number: int, arguments: argparse.Namespace
) -> SeedScores:
    """Trains on the scenes of the `number`-th seed, runs the analysis and scores it.

    Raises:
      ValueError: a stage failed, or an artifact does not fit.
    """
    from analysis.planted_benchmark import object_scoring, scoring
    from segmentation import train

    config = ConfigDict(config.to_dict()).lock()
    config.seed = number
    folder, directory = prepare(config, workdir, seed), workdir / f'seed{seed}'
    train.train(config, directory)
    analysis = open_analysis(directory)
    common = ['--workdir', str(directory)]
    for stage in STAGES:
        print(f'=== seed {seed}: {stage}', file=sys.stderr, flush=True)
        if registry.measure(stage, common, analysis.folder / f'{stage}.md') is None:
            raise ValueError(f'The stage {stage} of {directory} failed.')
    seeds = len(arguments.scene_seeds)
    amounts = {
        'tables': SHORT_TABLES if arguments.short else -(-NUM_TABLES // seeds),
        'samples': 0 if arguments.short else -(-NUM_SAMPLES // seeds),
        'heat_map_images': 0 if arguments.short else HEAT_MAP_IMAGES,
    }
    if not arguments.force and artifacts.is_current(analysis, SeedScores, STAGES, amounts):
        return artifacts.load(analysis, SeedScores)
    print(f'=== seed {seed}: scores', file=sys.stderr, flush=True)
    truth = scoring.read_truth(analysis, folder)
    measures = scoring.representation(analysis, truth)
    measures |= scoring.performance(analysis, truth)
    measures |= scoring.label_issues(analysis, truth)
    measures |= object_scoring.score(analysis, truth)
    shares = scoring.null_tables(analysis, amounts['tables'])
    if not arguments.short:
        measures |= scoring.heat_maps(analysis, folder, amounts['heat_map_images'])
        shares |= scoring.interval_coverage(analysis, amounts['samples'])
    result = SeedScores(measures, shares)
    artifacts.save(analysis, result, STAGES, amounts)
    return result


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = launch.make_parser(__doc__)
    add, held_out = parser.add_argument, ', '.join(map(str, scenes.HELD_OUT_WITH_HIDDEN_SLICES))
    add('--seeds', type=int, default=3, help=f'number of seeds, taken from {held_out}')
    add('--scene_seeds', nargs='+', type=int, metavar='SEED', help='these scene seeds instead')
    add('--short', action='store_true', help='run the short form (see above)')
    add('--force', action='store_true', help='score again seeds that were scored before')
    arguments, overrides = parser.parse_known_args(argv)
    if fixed := {text.partition('=')[0].removeprefix('--config.') for text in overrides} & FIXED:
        parser.error(f'{", ".join(sorted(fixed))} cannot be overridden: this command sets it')
    if not 1 <= arguments.seeds <= len(scenes.HELD_OUT_WITH_HIDDEN_SLICES):
        parser.error(f'--seeds must be from 1 to {len(scenes.HELD_OUT_WITH_HIDDEN_SLICES)}')
    if arguments.scene_seeds and arguments.short:
        parser.error('--short has its own scene seed')
    if arguments.scene_seeds is None:
        held_out = scenes.HELD_OUT_WITH_HIDDEN_SLICES[: arguments.seeds]
        arguments.scene_seeds = SHORT_SEEDS if arguments.short else held_out
    arguments.scene_seeds = tuple(dict.fromkeys(arguments.scene_seeds))
    return arguments, overrides


@launch.command
def main(argv: list[str] | None = None) -> int:
    arguments, overrides = parse_arguments(argv)
    from segmentation import cpu_runtime

    if __name__ == '__main__':
        cpu_runtime.configure()
    fields = SHORT_FIELDS if arguments.short else {}
    config = load_config(str(ROOT / CONFIG), campaign.overrides(fields) + overrides)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    per_seed = [
        score_seed(config, arguments.workdir, seed, number, arguments)
        for number, seed in enumerate(arguments.scene_seeds)
    ]
    measures = truth_tables.summarize(per_seed)
    targets = SHORT_TARGETS if arguments.short else truth_tables.targets_of(measures)
    command = launch.command_line('scripts/experiments/score_analysis.py', argv)
    runs = [arguments.workdir / f'seed{seed}' for seed in arguments.scene_seeds]
    report = Report(
        origin=Origin.of_runs(runs, command, range(len(arguments.scene_seeds))),
        seeds=arguments.scene_seeds,
        train=config.data.scenes.train,
        val=config.data.scenes.val,
        measures=measures,
        targets=targets,
        verdicts=truth_tables.judge(measures, targets),
    )
    markdown = truth_tables.to_markdown(report)
    draw = functools.partial(truth_tables.figure, report)
    content = storage.to_json(report)
    campaign.write_report(arguments.workdir, markdown, draw, content, arguments.json)
    print(markdown)
    missed = [
        name
        for name, target in targets.items()
        if not target.reached(measures.get(name, truth_tables.NOT_MEASURED))
    ]
    if arguments.short and missed:
        print(f'Missed targets: {"; ".join(missed)}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
