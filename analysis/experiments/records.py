"""Recorded results: small JSON files with the origin of each number, and tables made of them.

A record is `configs/results/<name>.json`. A README shows its tables between two comments:

    <!-- record five_folds scores -->
    <!-- end -->

`scripts/experiments/record.py` writes records from the results of commands, and the tables.
"""

import dataclasses
import datetime
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from segmentation import markdown
from segmentation.files import write_text
from segmentation.workdir import code_version, read_description

_PLACE = re.compile(
    r'(<!-- record (\w+) (\w+) -->\n)(?:(?!<!-- record).)*?(<!-- end -->)', re.DOTALL
)
VERDICTS = 'holds', 'suggestive', 'not resolvable', 'fails'


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number with its 95 % confidence interval and, if there is one, the claim about it.

    The claim is that the true value lies above `above` and below `below`, as far as they are given.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    above: float | None = None
    below: float | None = None

    @property
    def claimed(self) -> bool:
        return self.above is not None or self.below is not None

    def claims(self, value: float) -> bool:
        """Whether the claim is right if this is the true value."""
        return (self.above is None or self.above < value) and (
            self.below is None or value < self.below
        )

    def verdict(self) -> str:
        """Whether the number supports its claim: one of `VERDICTS`.

        'holds': true of the whole interval; 'suggestive': else, true of the value; 'fails': true of
        no part of the interval; 'not resolvable': anything else, or there is no interval.
        """
        if self.value is None or self.interval is None or not self.claimed:
            return VERDICTS[2]
        low, high = self.interval
        if self.claims(low) and self.claims(high):
            return VERDICTS[0]
        if self.claims(self.value):
            return VERDICTS[1]
        too_low = self.above is not None and high <= self.above
        too_high = self.below is not None and low >= self.below
        return VERDICTS[3] if too_low or too_high else VERDICTS[2]


def measure(row: Mapping[str, Any]) -> Measure:
    """A score of reproduction.py; with one seed there is no interval over training runs."""
    alone = len(row.get('per_seed', ())) == 1
    return Measure(row['score'], None if alone else interval_of(row['over_both']))


def interval_of(bounds: list | None) -> tuple[float, float] | None:
    return None if not bounds or None in bounds else (bounds[0], bounds[1])


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts and numbers; verdicts on claims have a column of their own."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | Measure, ...], ...]
    spec: str = '.3f'  # format of the numbers

    def to_markdown(self) -> str:
        claimed = any(isinstance(c, Measure) and c.claimed for row in self.rows for c in row)
        rows = []
        for row in self.rows:
            cells = [c if isinstance(c, str) else self._figure(c) for c in row]
            verdicts = [c.verdict() for c in row if isinstance(c, Measure) and c.claimed]
            rows.append([*cells, *([', '.join(verdicts)] if claimed else [])])
        return markdown.table([*self.columns, *(['verdict'] if claimed else [])], rows)

    def _figure(self, measure: Measure) -> str:
        return markdown.number(measure.value, measure.interval, self.spec)


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a result depends on."""

    command: str
    commit: str  # of the code; several if the training runs and the scores are of different ones
    date: str  # year-month-day
    devices: tuple[str, ...]
    seeds: tuple[int, ...]  # of the training runs
    fingerprint: str  # of the prepared data set
    weights: dict[str, str]  # SHA-256 of the pretrained weight file by its name; empty: random

    @classmethod
    def of_runs(
        cls, directories: Iterable[pathlib.Path], command: str, seeds: Iterable[int]
    ) -> 'Origin':
        """The origin of a result of `command`, from its run directories and this code."""
        runs = [read_description(directory) for directory in directories]
        fingerprints = dict.fromkeys(run['data']['fingerprint']['id'] for run in runs)
        return cls(
            command=command,
            # Of the training runs, which may have been continued later, and of what scored them.
            commit=', '.join(dict.fromkeys([*(run['code'] for run in runs), code_version()])),
            date=f'{datetime.date.today()}',
            devices=tuple(
                sorted({name.partition(':')[0] for run in runs for name in run['devices']})
            ),
            seeds=tuple(seeds),
            fingerprint=', '.join(fingerprints),
            weights={k: v for run in runs for k, v in run.get('weights', {}).items()},
        )

    def to_markdown(self) -> str:
        files = (f'`{name}` (SHA-256 {digest[:12]}…)' for name, digest in self.weights.items())
        return (
            f'Recorded {self.date} at commit `{self.commit}` with seeds '
            f'{", ".join(map(str, self.seeds))} on {", ".join(self.devices)}; pretrained weights: '
            f'{", ".join(files) or "none"}.'
        )


@dataclasses.dataclass(frozen=True)
class Record:
    """Results of a command."""

    origin: Origin
    tables: dict[str, Table]


def read(folder: pathlib.Path) -> dict[str, Record]:
    """Reads all records of a folder, by name.

    Raises:
      ValueError: a file is no record; names it.
    """
    records = {}
    for path in sorted(folder.glob('*.json')):
        try:
            records[path.stem] = msgspec.json.decode(path.read_bytes(), type=Record)
        except msgspec.MsgspecError as error:
            raise ValueError(f'{path} is no record of results: {error}') from error
    return records


def write(record: Record, path: pathlib.Path) -> None:
    """Writes a record as JSON, atomically."""
    write_text(path, msgspec.json.format(msgspec.json.encode(record), indent=1).decode() + '\n')


def fill(text: str, records: Mapping[str, Record]) -> str:
    """Puts the tables of records into a Markdown text, between the comments that name them.

    Raises:
      ValueError: there is no such record or table, or a comment is misspelled or has no end.
    """
    rest = _PLACE.sub('', text)
    if stray := re.search(r'^ *<!-- *(record|end).*', rest, re.MULTILINE):
        raise ValueError(
            f'The comment {stray[0]!r} does not belong to a table: write '
            '<!-- record NAME TABLE --> and <!-- end --> on lines of their own.'
        )

    def table(match: re.Match[str]) -> str:
        begin, name, of, end = match.groups()
        if name not in records or of not in records[name].tables:
            raise ValueError(f'No table {of!r} of a record {name!r} in configs/results.')
        parts = records[name].tables[of].to_markdown(), records[name].origin.to_markdown()
        return begin + '\n\n'.join(parts) + f'\n{end}'

    return _PLACE.sub(table, text)
