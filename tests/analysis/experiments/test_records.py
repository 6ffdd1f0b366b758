"""Records of results: tables, wording of claims, and READMEs that show what was recorded."""

import dataclasses
import json
import re

import pytest

from analysis.experiments import records
from analysis.experiments.records import Measure, Origin, Record, Table
from analysis.experiments.reproduction import ALSO
from analysis.planted_benchmark.metrics import Measure as SeedMeasure
from analysis.planted_benchmark.tables import Report, Target
from analysis.stage import storage
from scripts.experiments import record as command

ORIGIN = Origin(
    'python x.py', 'abc', '2026-11-28', ('TFRT_CPU_0',), (0, 1), 'f1', {'weights.h5': 'ab' * 32}
)
TABLE = Table(
    ('experiment', 'difference'),
    (
        ('a|b', Measure(0.2, (0.1, 0.3), above=0.0)),
        ('c', Measure(0.2, (-0.1, 0.5), above=0.0)),
    ),
)


@pytest.mark.parametrize(
    ('value', 'interval', 'verdict'),
    [
        (0.9, (0.85, 0.95), 'holds'),
        (0.82, (0.7, 0.94), 'suggestive'),
        (0.78, (0.7, 0.86), 'not resolvable'),
        (0.7, (0.6, 0.8), 'fails'),
        (0.9, None, 'not resolvable'),
        (None, None, 'not resolvable'),
    ],
)
def test_claims_are_worded_by_rule(value, interval, verdict):
    assert Measure(value, interval, above=0.8).verdict() == verdict


def test_table_names_claims_and_origin(tmp_path):
    records.write(Record(ORIGIN, {'main': TABLE}), tmp_path / 'mine.json')
    known = records.read(tmp_path)
    assert known == {'mine': Record(ORIGIN, {'main': TABLE})}
    text = 'Before.\n\n<!-- record mine main -->\nold\n<!-- end -->\n\nAfter.\n'
    filled = records.fill(text, known)
    assert '| a\\|b | 0.200 (0.100, 0.300) | holds |' in filled
    assert '| c | 0.200 (-0.100, 0.500) | suggestive |' in filled
    assert 'commit `abc` with seeds 0, 1' in filled and 'weights.h5' in filled
    assert '\nold\n' not in filled and filled.startswith('Before.') and filled.endswith('After.\n')
    assert records.fill(filled, known) == filled
    with pytest.raises(ValueError, match="No table 'other' of a record 'mine'"):
        records.fill(text.replace('main', 'other'), known)


@pytest.mark.parametrize(
    'text',
    [
        '<!-- record mine-2 main -->\n1\n<!-- end -->\n',
        '<!-- record mine  main -->\n1\n<!-- end -->\n',
        '<!-- record mine main -->\n1\n',
        '<!-- record mine main -->\n1\n<!-- end-->\n',
        '<!-- record mine main -->\n<!-- record mine main -->\n1\n<!-- end -->\n',
    ],
)
def test_table_that_would_not_be_filled_is_refused(text):
    """Otherwise a misspelled comment keeps a table that differs from its record."""
    with pytest.raises(ValueError, match='does not belong to a table'):
        records.fill(text, {'mine': Record(ORIGIN, {'main': TABLE})})


def test_origin_is_that_of_all_trainings(tmp_path, monkeypatch):
    described = {'class_names': [], 'data': {'path': '', 'fingerprint': {'id': 'f1'}}}
    for name, code, device in (('a', 'old', 'TFRT_CPU_0'), ('b', 'new', 'cuda:1')):
        (tmp_path / name).mkdir()
        run = {**described, 'code': code, 'devices': [device], 'weights': {f'{name}.h5': name}}
        (tmp_path / name / 'run.json').write_text(json.dumps(run))
    monkeypatch.setattr(records, 'code_version', lambda: 'newer')
    found = Origin.of_runs([tmp_path / 'a', tmp_path / 'b'], 'python x.py', range(2))
    assert found.commit == 'old, new, newer' and found.fingerprint == 'f1'
    assert found.devices == ('TFRT_CPU_0', 'cuda')
    assert found.weights == {'a.h5': 'a', 'b.h5': 'b'}


def test_damaged_record_is_named(tmp_path):
    (tmp_path / 'x.json').write_text('{"origin": {}}')
    with pytest.raises(ValueError, match='x.json is no record of results.*command'):
        records.read(tmp_path)


def test_readmes_show_what_was_recorded():
    known = records.read(command.RESULTS)
    shown = set()
    for path in command.readmes():
        text = path.read_text()
        assert records.fill(text, known) == text, f'{path}: run scripts/experiments/record.py'
        shown |= {name for name in known if f'<!-- record {name} ' in text}
    assert shown == known.keys(), 'a record that no README shows'


def test_readmes_have_no_tables_of_results_without_a_record():
    # A measured value has decimals, or an interval; settings and targets have neither.
    measured = re.compile(r'(?<!≥ )\d\.\d\d|[(\[][-+]?\d*\.\d+ ?[,–] ?[-+]?\d')
    for path in command.readmes():
        text = re.sub(r'<!-- record .*?<!-- end -->', '', path.read_text(), flags=re.DOTALL)
        rows = [line for line in text.splitlines() if line.lstrip().startswith('|')]
        typed = [row for row in rows if measured.search(row)]
        assert not typed, f'{path} has results without a record: {typed}'


def test_command_records_a_reproduction(tmp_path, monkeypatch):
    row = {'score': 0.5, 'over_both': [0.4, 0.6], 'images_with_class': 7, 'effective_images': 3.2}
    test = {
        'metric': 'iou', 'true_classes': ['person'], 'difference': 0.1, 'interval': [-0.1, 0.3],
        'minimum_detectable': 0.2, 'identical_pixels': True,
    }  # fmt: skip
    sets = {'all images': 0.5, ALSO['full']: 0.6, ALSO['mirrored']: 0.7}
    scores = {
        name: {metric: {'person': {**row, 'score': score}} for metric in ('iou', 'image_iou')}
        for name, score in sets.items()
    }
    report = {
        'origin': dataclasses.asdict(ORIGIN),
        'scores': {'mine': scores},
        'published': {'mine': {'person': 0.309}},
        'claims': [
            {
                'claim': 'b is better',
                'models': ['a', 'b'],
                'score': name,
                'tests': [test, {**test, 'metric': 'image_iou'}],
            }
            for name in ('person', 'foreground mean')
        ],
        'learning_curve': [],
    }
    result = tmp_path / 'report.json'
    result.write_text(json.dumps(report))
    monkeypatch.setattr(command, 'RESULTS', tmp_path / 'results')
    monkeypatch.setattr(command, 'readmes', lambda: [tmp_path / 'README.md'])
    command.RESULTS.mkdir()
    (tmp_path / 'README.md').write_text('<!-- record mine claims -->\n<!-- end -->\n')
    monkeypatch.setattr(command, 'ROOT', tmp_path)
    assert command.main(['--add', 'mine', '--result', str(result)]) == 0
    text = (tmp_path / 'README.md').read_text()
    assert '| b is better | over the set | person | 0.100 (-0.100, 0.300)' in text
    assert 'suggestive' in text
    tables = records.read(command.RESULTS)['mine'].tables
    (varied,) = tables['differences'].rows
    assert tables['differences'].columns[2:] == ('person', 'foreground mean')
    assert varied[:2] == ('b', 'a') and [each.interval for each in varied[2:]] == [(-0.1, 0.3)] * 2
    (scored,), (also,) = tables['scores'].rows, tables['also'].rows
    assert scored[:3] == ('mine', 'person', '0.309') and scored[-1] == '7, 3'
    assert also[:2] == ('mine', 'person') and [each.value for each in also[2:]] == [0.6, 0.7]
    report['scores']['other'] = {'all images': {'iou': {'rider': row}, 'image_iou': {'rider': row}}}
    report['published']['other'] = {}
    once = {**report, 'setup': {'seeds': 1}}
    assert '| 0.100 |' in command.of_reproduction(once)['claims'].to_markdown()
    assert 'not resolvable' in command.of_reproduction(once)['claims'].to_markdown()
    summary = command.of_reproduction(report)['summary']
    assert summary.columns == ('experiment', 'person / rider')
    assert [(name, score.value) for name, score in summary.rows] == [('mine', 0.5), ('other', 0.5)]
    del scores[ALSO['full']]  # as older versions wrote it
    assert 'also' not in command.of_reproduction(report)
    prediction = {'images': 'all images', 'metric': 'iou', 'class_name': 'person'}
    curve = [
        {**prediction, 'experiment': 'mine', 'sizes': [50, 100], 'scores': [0.1, 0.2]},
        {**prediction, 'experiment': 'other', 'sizes': [100], 'scores': [0.9]},
    ]
    table = command.of_reproduction({**report, 'learning_curve': curve})['curve']
    assert table.columns[2:] == ('50 images', '100 images')
    assert [each.value for each in table.rows[1][2:]] == [None, 0.9]
    assert '| other | person | – | 0.900 |' in table.to_markdown()
    for name in ('five-folds', '../mine'):
        with pytest.raises(SystemExit):
            command.main(['--add', name, '--result', str(result)])
    del report['origin']
    result.write_text(json.dumps(report))
    with pytest.raises(SystemExit):
        command.main(['--add', 'mine', '--result', str(result)])


def test_benchmark_is_recorded_with_the_verdict_on_each_target():
    measures = {
        'a/x': SeedMeasure(0.82, (0.7, 0.94), (0.8, 0.84)),
        'a/other': SeedMeasure(0.5, None, (0.5,)),
    }
    targets = {'a/x': Target(0.8), 'a/never': Target(0.5)}
    report = Report(ORIGIN, (1,), 2, 3, measures, targets, {'a/x': 'suggestive'})
    tables = command.of_benchmark(storage.to_json(report))
    assert '| a/x | 0.820 (0.700, 0.940) | ≥ 0.8 | suggestive |' in tables['targets'].to_markdown()
    assert '| a/never | – | ≥ 0.5 | not resolvable |' in tables['targets'].to_markdown()
    assert '| a/other | 0.500 |' in tables['measures'].to_markdown()
