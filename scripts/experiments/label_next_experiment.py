"""Does it pay to choose the images to label, by uncertainty and coverage, or at random?

    python scripts/experiments/label_next_experiment.py --workdir runs/label_scenes
    python scripts/experiments/label_next_experiment.py --workdir runs/label_photos \\
        --config configs/person_car.py --config.data.source=FOLDER --config.data.require=nothing

The training images of the data set are the pool. For each seed, a random part of it is labeled, and
a network is trained on it. Then each rule labels further images, round by round, chosen by the
network of its last round (for random: by chance), and a new network is trained from the start:

    label_next   the order of analysis.label_next
    uncertainty  the largest mean entropy
    random       at random

The labels of images that are not yet labeled are hidden from the rules. No image is held out to
choose the checkpoint: the last one is scored on the validation images. All trainings have the same
number of steps. The report has IoU over the number of labeled images, and paired differences with
95 % confidence intervals.

--config.<field>=<value> changes fields. The same command continues; finished trainings are kept.
Writes report.md, report.json and report.png into WORKDIR, after each round.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import shutil
import sys
from collections.abc import Sequence

import msgspec
import numpy as np
from ml_collections import ConfigDict

from analysis import registry
from analysis.experiments import labeling as report_lib
from analysis.experiments.labeling import RULES
from analysis.experiments.records import Origin
from analysis.label_next.rule import choose
from analysis.stage.population import draw_unlabeled
from analysis.stage.run import Analysis, open_analysis
from segmentation import campaign, launch
from segmentation.campaign import Training, load_scores
from segmentation.config import load_config, num_training_steps
from segmentation.data import coco
from segmentation.data.examples import Examples, open_data, select_examples

ROOT = pathlib.Path(__file__).resolve().parents[2]
START = 'start'  # the first round, which all rules share
FIXED = {
    'seed', 'data.exclude', 'data.exclude_from', 'data.fraction', 'data.folds', 'data.fold',
    'data.selection_fraction',
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What all trainings have in common."""

    workdir: pathlib.Path
    config: ConfigDict
    prepared: coco.Prepared
    pool: Examples
    seeds: int
    labeled: tuple[int, ...]  # images after each round

    def training(self, rule: str, seed: int, place: int, ids: Sequence[int]) -> Training:
        """The training of a round, on these images of the pool alone."""
        config = ConfigDict(self.config.to_dict()).lock()
        config.seed = seed
        left_out = {*self.pool.image_ids.tolist()} - {*ids} | campaign.excluded(self.config)
        if left_out:
            path = campaign.write_ids(
                self.workdir / 'left_out', sorted(left_out), self.prepared.fingerprint['id']
            )
            config.data.exclude = str(path)
        directory = self.workdir / rule / f'seed{seed}-{self.labeled[place]}'
        return Training(rule, seed, 0, 1.0, directory, config, len(ids))

    def state(self, training: Training) -> str:
        """What the scores of a training, and the images it chooses, depend on."""
        return json.dumps([campaign.state_of(training, self.prepared), *self.labeled])

    def rules(self, training: Training, place: int) -> tuple[str, ...]:
        """The rules that choose images by the network of this training."""
        if place + 1 == len(self.labeled):
            return ()
        return RULES if training.experiment == START else (training.experiment,)

    def load(self, training: Training, place: int) -> dict[str, np.ndarray] | None:
        """What `score` has written; None if it is not there or is out of date."""
        targets = 'counts', *self.rules(training, place)
        return load_scores(training.directory, self.state(training), targets)

    def score(self, training: Training, place: int, ids: Sequence[int]) -> None:
        """Scores the last checkpoint, and lets it choose images for the next round."""
        from segmentation import evaluate  # here, as it imports JAX

        analysis = open_analysis(training.directory, 'val', 'latest')
        run = analysis.run
        counted = evaluate.evaluate(
            evaluate.make_predict(run.model, run.config.data.input_range),
            run.variables,
            analysis.examples,
            num_classes=len(run.class_names),
            batch_size=run.config.eval_batch_size,
            progress=f'score {training.directory}',
        )
        scores = {'counts': counted['network'], 'image_id': counted['image_id']}
        is_labeled = np.isin(self.pool.image_ids, list(ids))
        count = self.labeled[place + 1] - self.labeled[place] if self.rules(training, place) else 0
        rules = self.rules(training, place)
        if set(rules) - {'random'}:
            entropy, points = self._describe(analysis)
        for rule in rules:
            if rule == 'label_next':
                rows = choose(points, entropy, is_labeled, count).rows
            elif rule == 'uncertainty':
                rows = np.argsort(np.where(is_labeled, np.inf, -entropy), kind='stable')[:count]
            else:
                rng = np.random.default_rng([training.seed, place, 1])
                rows = rng.choice(np.flatnonzero(~is_labeled), count, replace=False)
            scores[rule] = self.pool.image_ids[rows]
        campaign.save_scores(training.directory, self.state(training), scores)

    def _describe(self, analysis: Analysis) -> tuple[np.ndarray, np.ndarray]:
        """Mean entropy `[N]` and embedding `[N, D]` of the images of the pool, without labels."""
        hidden = dataclasses.replace(self.pool, draw=draw_unlabeled)
        pool = dataclasses.replace(
            analysis, split='pool', examples=hidden, image_ids=hidden.image_ids.astype(np.int64)
        )
        shutil.rmtree(pool.folder, ignore_errors=True)  # of an interrupted process
        pool.folder.mkdir(parents=True)
        entropy = registry.load('predictions').get(pool).column('entropy')
        points = registry.load('embeddings').get(pool).points
        shutil.rmtree(pool.folder)  # its features are large
        return entropy, points

    def run_round(
        self, place: int, chosen: dict[tuple[str, int], list[int]]
    ) -> tuple[dict[str, np.ndarray], list[pathlib.Path]]:
        """Trains and scores a round.

        Args:
          place: of the round, 0 for the start.
          chosen: labeled images by rule and seed; gets those of the next round.

        Returns:
          By rule the confusion matrices `[S, N, C, C]` of S seeds and N validation images, and the
          run directories.
        """
        arms = RULES if place else (START,)
        trainings = {
            (rule, seed): self.training(rule, seed, place, chosen[rule, seed])
            for seed in range(self.seeds)
            for rule in arms
        }
        finished = {each.directory for each in trainings.values() if self.load(each, place)}
        ids = {each.directory: chosen[key] for key, each in trainings.items()}
        campaign.run_plan(
            list(trainings.values()), finished,
            lambda training: self.score(training, place, ids[training.directory]), lambda: None,
        )  # fmt: skip
        counts = {}
        for rule in RULES:
            found = []
            for seed in range(self.seeds):
                key = rule if place else START, seed
                scores = self.load(trainings[key], place)
                assert scores is not None  # run_plan raises if a training is not scored
                found.append(scores['counts'])
                chosen[rule, seed] = chosen[key] + scores.get(rule, np.zeros(0, int)).tolist()
            counts[rule] = np.stack(found)
        return counts, list(ids)


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = launch.make_parser(__doc__)
    add = parser.add_argument
    add('--config', default=str(ROOT / 'configs/demo.py'), metavar='FILE', help='config file')
    add('--start', type=int, default=50, metavar='COUNT', help='random images labeled at first')
    add('--add', type=int, default=50, metavar='COUNT', help='images labeled in each round')
    add('--rounds', type=int, default=4, help='rounds after the start')
    add('--seeds', type=int, default=5, help='number of repetitions')
    arguments, overrides = parser.parse_known_args(argv)
    if fixed := {text.partition('=')[0].removeprefix('--config.') for text in overrides} & FIXED:
        parser.error(f'{", ".join(sorted(fixed))} cannot be overridden: this command sets it')
    if min(arguments.start, arguments.add, arguments.rounds, arguments.seeds) < 1:
        parser.error('--start, --add, --rounds and --seeds must be at least 1')
    return arguments, overrides


@launch.command
def main(argv: list[str] | None = None) -> int:
    arguments, overrides = parse_arguments(argv)
    from segmentation import cpu_runtime

    if __name__ == '__main__':
        cpu_runtime.configure()
    config = load_config(arguments.config, overrides)
    config.data.selection_fraction, config.data.exclude_from = 0.0, ('train', 'selection')
    prepared = open_data(config.data)
    pool, _ = select_examples(prepared, config.data, 'train')
    labeled = [arguments.start + k * arguments.add for k in range(arguments.rounds + 1)]
    if labeled[-1] > len(pool):
        raise ValueError(
            f'{labeled[-1]} images are to be labeled, but the data set has {len(pool)} training '
            'images: lower --start, --add or --rounds.'
        )
    # Of all rounds equally many, however many images are labeled.
    config.train.num_steps = num_training_steps(config.train, labeled[-1])
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(
        arguments.workdir, config, prepared, pool, arguments.seeds, tuple(labeled)
    )
    chosen = {
        (START, seed): np.random.default_rng([seed, 0])
        .choice(pool.image_ids, arguments.start, replace=False)
        .tolist()
        for seed in range(arguments.seeds)
    }
    command = launch.command_line('scripts/experiments/label_next_experiment.py', argv)
    counts: dict[str, list[np.ndarray]] = {rule: [] for rule in RULES}
    directories: list[pathlib.Path] = []
    for place, number in enumerate(labeled):
        print(f'=== {number} labeled images', file=sys.stderr, flush=True)
        found, runs = experiment.run_round(place, chosen)
        for rule in RULES:
            counts[rule].append(found[rule])
        directories += runs
        curves = report_lib.analyze(counts, labeled[: place + 1])
        origin = Origin.of_runs(directories, command, range(arguments.seeds))
        name = pathlib.PurePath(config.data.source).name
        markdown = report_lib.to_markdown(curves, origin, name, config.train.num_steps)
        draw = functools.partial(report_lib.figure, curves)
        content = {'origin': origin, 'tables': report_lib.make_tables(curves), 'curves': curves}
        campaign.write_report(
            arguments.workdir, markdown, draw, msgspec.to_builtins(content), arguments.json
        )
    print(markdown)
    return 0


if __name__ == '__main__':
    sys.exit(main())
