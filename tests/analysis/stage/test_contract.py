"""The stage contract: what a stage reads is computed first, and only what is stale again."""

import dataclasses
import json
import shutil
from typing import ClassVar

import pytest

from analysis.stage import artifacts
from analysis.stage.artifacts import Result
from analysis.stage.command import stage_parser
from analysis.stage.contract import Stage
from analysis.stage.run import open_analysis
from analysis.stage.view import Parts


@dataclasses.dataclass(frozen=True)
class Numbers(Result):
    NAME: ClassVar[str] = 'numbers'
    VERSION: ClassVar[int] = 1

    values: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Extra(Result):
    NAME: ClassVar[str] = 'extra'
    VERSION: ClassVar[int] = 1

    value: int


@dataclasses.dataclass(frozen=True)
class Total(Result):
    NAME: ClassVar[str] = 'total'
    VERSION: ClassVar[int] = 1

    total: int


@pytest.fixture
def analysis(tiny_run, tmp_path):
    return open_analysis(shutil.copytree(tiny_run, tmp_path / 'run'))


@pytest.fixture
def stages():
    """Three stages, and the list of what was computed."""
    computed = []

    def numbers(analysis, largest=3):
        computed.append('numbers')
        return Numbers(tuple(range(largest + 1)))

    def extra(analysis, value=100):
        computed.append('extra')
        return Extra(value)

    def total(analysis):
        computed.append('total')
        found = sum(artifacts.load(analysis, Numbers).values)
        if artifacts.exists(analysis, Extra):
            found += artifacts.load(analysis, Extra).value
        return Total(found)

    def parser(result, about, **settings):
        return lambda: stage_parser(result, about, **settings)

    first = Stage(
        Numbers, parser(Numbers, 'Numbers.', largest=(3, 'the last')), numbers,
        lambda result: f'{result.values}',
    )  # fmt: skip
    optional = Stage(
        Extra, parser(Extra, 'Extra.', value=(100, 'more')), extra, lambda result: f'{result.value}'
    )
    last = Stage(
        Total, parser(Total, 'Their sum.'), total, lambda result: f'The sum is {result.total}.',
        reads=(first,), reads_if_there=(optional,),
    )  # fmt: skip
    return first, optional, last, computed


def test_what_a_stage_reads_is_computed_first_and_once(analysis, stages):
    _, _, last, computed = stages
    assert last.get(analysis).total == 6
    assert last.get(analysis).total == 6
    assert computed == ['numbers', 'total']


def test_only_what_depends_on_a_change_is_recomputed(analysis, stages):
    first, optional, last, computed = stages
    last.get(analysis)
    assert first.get(analysis, largest=4).values[-1] == 4
    # The settings that a stage was run with are kept.
    assert last.get(analysis).total == 10
    assert computed == ['numbers', 'total', 'numbers', 'total']
    optional.get(analysis)
    assert last.get(analysis).total == 110
    assert last.get(analysis).total == 110
    assert computed[4:] == ['extra', 'total']


def test_an_older_schema_is_recomputed_with_the_same_settings(analysis, stages):
    first, _, last, computed = stages
    first.get(analysis, largest=4)
    last.get(analysis)
    path = artifacts.path_of(analysis, Numbers)
    path.write_text(path.read_text().replace('"version": 1', '"version": 0'))
    assert last.get(analysis).total == 10
    # The new numbers are those of before, so that their sum is still up to date.
    assert computed == ['numbers', 'total', 'numbers']


def test_force_computes_again(analysis, stages):
    first, _, _, computed = stages
    first.get(analysis)
    first.get(analysis, force=True)
    assert computed == ['numbers', 'numbers']


def test_damage_is_refused_until_forced(analysis, stages):
    first, *_ = stages
    first.get(analysis)
    artifacts.path_of(analysis, Numbers).write_text('nonsense')
    with pytest.raises(ValueError, match='is damaged'):
        first.get(analysis)
    assert first.get(analysis, force=True).values == (0, 1, 2, 3)
    assert first.get(analysis).values == (0, 1, 2, 3)


def test_what_reads_an_unavailable_stage_is_unavailable(analysis, stages, monkeypatch):
    first, optional, last, computed = stages
    monkeypatch.setattr(Numbers, 'PARTS', Parts.SEVERAL)
    assert 'give several --splits' in first.why_not(analysis)
    assert 'give several --splits' in last.why_not(analysis)
    assert optional.why_not(analysis) == ''
    with pytest.raises(ValueError, match='total is not available for .*several --splits'):
        last.get(analysis)
    assert computed == []


def test_what_needs_more_images_is_unavailable(analysis, stages, monkeypatch):
    first, _, last, computed = stages
    monkeypatch.setattr(Numbers, 'FEWEST', len(analysis) + 1)
    assert last.why_not(analysis) == first.why_not(analysis) != ''
    assert f'at least {len(analysis) + 1} images' in first.why_not(analysis)
    monkeypatch.setattr(Numbers, 'FEWEST', len(analysis))
    assert first.why_not(analysis) == ''


def test_command(analysis, stages, tmp_path, capsys):
    first, _, last, computed = stages
    file = tmp_path / 'result.json'
    command = ['--workdir', str(analysis.workdir)]
    assert first.main([*command, '--largest', '5', '--json', str(file)]) == 0
    assert json.loads(file.read_text()) == {'values': [0, 1, 2, 3, 4, 5]}
    assert '(0, 1, 2, 3, 4, 5)' in capsys.readouterr().out
    assert last.main(command) == 0
    assert 'The sum is 15.' in capsys.readouterr().out
    assert computed == ['numbers', 'total']
    assert last.main(['--workdir', str(tmp_path / 'nothing')]) == 1
    assert 'no run directory' in capsys.readouterr().err
