"""Records results with their origin, and fills the tables of the READMEs with them.

    python scripts/experiments/record.py                         # fill the tables of all READMEs
    python scripts/experiments/record.py --add five_folds --result runs/reproduce/report.json

--add writes configs/results/<name>.json from the report.json of reproduce.py or score_analysis.py,
the JSON of fit_probabilities.py or export.py, or any other that has an origin and tables.
A README names the tables that it shows in comments; see analysis/experiments/records.py.
"""

import json
import pathlib
import re
import sys
from typing import Any

import msgspec

from analysis.experiments import records
from analysis.experiments.records import Measure, Origin, Record, Table, interval_of, measure
from analysis.planted_benchmark.metrics import Measure as SeedMeasure
from analysis.planted_benchmark.tables import NOT_MEASURED, Target
from segmentation import launch
from segmentation.files import write_text

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'configs' / 'results'


def readmes() -> list[pathlib.Path]:
    """All Markdown files that may show tables."""
    folders = ('configs', 'segmentation', 'analysis', 'scripts')
    return [ROOT / 'README.md', *(p for name in folders for p in (ROOT / name).rglob('*.md'))]


def of_reproduction(report: dict[str, Any]) -> dict[str, Table]:
    """Tables of a report.json of reproduce.py: `summary`, `scores`, `claims`, and others.

    `summary` has the IoU over the set, one row per experiment; classes of the same number share a
    column. `differences` has those of experiments, such as variants, from the one that each is
    compared with. `also` has the IoU at the images' own resolution, and that of logits averaged
    with those of the mirrored image; `curve` is the learning curve.
    """
    from analysis.experiments.reproduction import ALSO  # now, as they import SciPy
    from analysis.experiments.tables import scores_at

    sets = {name: next(iter(parts.values())) for name, parts in report['scores'].items()}
    scores = [
        (
            experiment, name, published_score(report, experiment, name),
            *(measure(by_metric[metric][name]) for metric in ('iou', 'image_iou')),
            f'{row["images_with_class"]}, {row["effective_images"]:.0f}'
            if row.get('images_with_class') is not None else '',
        )
        for experiment, by_metric in sets.items()
        for name, row in by_metric['iou'].items()
    ]  # fmt: skip
    alone = report.get('setup', {}).get('seeds') == 1  # nothing is decided then
    claims = [
        (
            claim['claim'],
            'over the set' if test['metric'] == 'iou' else 'per image',
            '; '.join(test['true_classes']),
            Measure(
                test['difference'], None if alone else interval_of(test['interval']), above=0.0
            ),
            Measure(test['minimum_detectable']),
        )
        for claim in report['claims']
        for test in claim['tests']
        if test['identical_pixels']
    ]
    columns = 'experiment', 'class', 'published', 'over the set', 'per image', 'images, effective'
    by_class = [by_metric['iou'] for by_metric in sets.values()]
    names = [' / '.join(dict.fromkeys(column)) for column in zip(*by_class, strict=True)]
    rows = [
        (experiment, *map(measure, scored.values()))
        for experiment, scored in zip(sets, by_class, strict=True)
    ]
    tables = {
        'summary': Table(('experiment', *names), tuple(rows)),
        'scores': Table(columns, tuple(scores)),
        'claims': Table(
            ('claim', 'IoU', 'true classes', 'difference', 'minimum detectable'), tuple(claims)
        ),
    }
    if varied := differences(report['claims'], alone):
        tables['differences'] = varied
    also = [
        (experiment, name, *(measure(parts[title]['iou'][name]) for title in ALSO.values()))
        for experiment, parts in report['scores'].items()
        if parts.keys() >= set(ALSO.values())
        for name in parts[ALSO['full']]['iou']
    ]
    if also:
        columns = 'experiment', 'class', 'at the images’ own resolution', 'with mirrored images'
        tables['also'] = Table(columns, tuple(also))
    if curve := report['learning_curve']:
        # An experiment can lack a size, or have others.
        sizes = sorted({round(size) for row in curve for size in row['sizes']})
        rows = [
            (row['experiment'], row['class_name'], *map(Measure, scores_at(sizes, row)))
            for row in curve
            if row['metric'] == 'iou' and row['images'] == 'all images'
        ]
        columns = 'experiment', 'class', *(f'{size} images' for size in sizes)
        tables['curve'] = Table(columns, tuple(rows))
    return tables


def differences(claims: list[dict[str, Any]], alone: bool) -> Table | None:
    """Differences in IoU over the set between experiments of the same task; None without any.

    Without intervals if each has a single training run per fold (`alone`).
    """
    found: dict[tuple[str, str], dict[str, Measure]] = {}
    for claim in claims:
        tests = [test for test in claim['tests'] if test['metric'] == 'iou']
        if len(tests) == 1:  # of two tasks, each model is scored against its own classes too
            interval = None if alone else interval_of(tests[0]['interval'])
            score = Measure(tests[0]['difference'], interval)
            found.setdefault(tuple(claim['models']), {})[claim.get('score', claim['claim'])] = score
    if not found:
        return None
    names = tuple(dict.fromkeys(name for scores in found.values() for name in scores))
    rows = [
        (second, first, *(scores.get(name, Measure(None)) for name in names))
        for (first, second), scores in found.items()
    ]
    return Table(('experiment', 'minus', *names), tuple(rows))


def of_benchmark(report: dict[str, Any]) -> dict[str, Table]:
    """Tables of a report.json of score_analysis.py: `targets` and the other `measures`."""
    targets = {name: msgspec.convert(each, Target) for name, each in report['targets'].items()}
    found = {name: msgspec.convert(each, SeedMeasure) for name, each in report['measures'].items()}
    aimed = [
        (name, target.claim(found.get(name, NOT_MEASURED)), str(target))
        for name, target in targets.items()
    ]
    others = [
        (name, Measure(each.mean, each.interval))
        for name, each in found.items()
        if name not in targets
    ]
    columns = 'measure', 'mean over the seeds'
    return {
        'targets': Table((*columns, 'target'), tuple(aimed)),
        'measures': Table(columns, tuple(others)),
    }


def of_probabilities(report: dict[str, Any]) -> dict[str, Table]:
    """The reliability table of fit_probabilities.py."""
    rows = [
        (
            f'{tenth["low"]:.1f}–{tenth["low"] + 0.1:.1f}',
            str(tenth['issues']),
            Measure(tenth['predicted']),
            Measure(tenth['observed']),
        )
        for tenth in report['tenths']
    ]
    columns = 'probability', 'issues', 'mean probability', 'share of errors'
    return {'tenths': Table(columns, tuple(rows))}


def of_export(report: dict[str, Any]) -> dict[str, Table]:
    """The exported files of export.py beside the network itself, the first row."""
    network, *files = report['rows']
    times = 'second', 'processor_second'
    rows = [
        (
            row['name'],
            f'{row["agreement"]:.3%}',
            Measure(row['iou_difference'], interval_of(row['interval'])),
            *(f'{row[f"images_per_{time}"] / network[f"images_per_{time}"]:.2f}' for time in times),
            f'{row["bytes"] / 1e6:.1f}',
        )
        for row in files
    ]
    speeds = 'relative speed', 'relative speed by processor time'
    columns = 'file', 'agreement', 'difference of IoU', *speeds, 'MB'
    return {'files': Table(columns, tuple(rows), spec='+.5f')}


def of_tables(report: dict[str, Any]) -> dict[str, Table]:
    """The tables that a report holds itself, as those of most other commands do."""
    return {name: msgspec.convert(table, Table) for name, table in report['tables'].items()}


# What a report has that only one kind has, and how to make tables of it.
READERS = {
    'scores': of_reproduction,
    'measures': of_benchmark,
    'tenths': of_probabilities,
    'rows': of_export,
    'tables': of_tables,
}


def published_score(report: dict[str, Any], experiment: str, name: str) -> str:
    score = report['published'][experiment].get(name)
    return '' if score is None else f'{score:.3f}'


def main(argv: list[str] | None = None) -> int:
    parser = launch.make_parser(__doc__, workdir='')
    parser.add_argument('--add', metavar='NAME', help='name of the record')
    parser.add_argument('--result', type=pathlib.Path, help='the report.json to record')
    arguments = parser.parse_args(argv)
    if (arguments.add is None) != (arguments.result is None):
        parser.error('--add and --result must be given together')
    if arguments.add and not re.fullmatch(r'\w+', arguments.add):
        parser.error(f'--add {arguments.add!r}: a name has letters, digits and _ only')
    if arguments.add:
        report = json.loads(arguments.result.read_text())
        if 'origin' not in report:
            parser.error(f'{arguments.result} has no origin: an older version wrote it')
        readers = [reader for key, reader in READERS.items() if key in report]
        if not readers:
            parser.error(
                f'{arguments.result} is not a result of a known kind: {", ".join(READERS)}'
            )
        tables = readers[0](report)
        origin = msgspec.convert(report['origin'], Origin)
        records.write(Record(origin, tables), RESULTS / f'{arguments.add}.json')
    known = records.read(RESULTS)
    for path in readmes():
        text = path.read_text()
        if (filled := records.fill(text, known)) != text:
            write_text(path, filled)
            print(f'{path.relative_to(ROOT)}: tables written')
    return 0


if __name__ == '__main__':
    sys.exit(main())
