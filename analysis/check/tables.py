"""The result of the gate as text and as JUnit XML."""

import pathlib
from xml.etree import ElementTree

from analysis.check.gate import VERDICTS, Outcome
from analysis.check.schema import Gate
from segmentation import markdown
from segmentation.files import write_text
from segmentation.markdown import number

_RESOLUTIONS = {
    'network': '',
    'original': " Pixels are counted at the images' own resolution, because the runs differ in "
    "data.image_size; slices are chosen by the loss at each network's resolution.",
}


def to_markdown(result: Gate) -> str:
    """A table of all checks, and what they mean."""
    trainings = f'{len(result.new)} new, {len(result.baseline)} baseline'
    single = len(result.new) + len(result.baseline) == 2
    assumed = f'{result.training_sd:g} (--training_sd)'
    spread = (
        'With one training run on each side, their variation is unknown. The IoU is assumed to '
        f'have a standard deviation of {assumed}.'
        if single
        else 'The variation between training runs is measured, and averaged with an assumed '
        f'standard deviation of {assumed}.'
    )
    counts = ', '.join(
        f'{count} {verdict}' for verdict in VERDICTS if (count := result.count(verdict))
    )
    shown = result.count(VERDICTS[1]) > 0
    headline = 'WORSE' if result.worse else 'PASSED' if shown else 'INCONCLUSIVE'
    parts = [
        f'{headline}: {counts or "nothing was checked"}.',
        f'{result.num_images} common images of split {result.split}; training runs: {trainings}. '
        f'{spread}{_RESOLUTIONS[result.resolution]}',
        markdown.table(
            ('check', 'name', 'images', 'baseline', 'new', 'new - baseline (95 % CI)', 'p',
             'minimum detectable drop', 'verdict'),
            (
                (
                    *(one.kind, one.name, str(one.images), number(one.baseline), number(one.new)),
                    number(one.difference, one.interval, '+.3f'),
                    *(number(one.p, spec='.2g'), number(one.minimum_detectable), one.verdict),
                )
                for one in result.outcomes
            ),
        ),
        'Classes: IoU over the set. Slices and saved views: mean over their images of the '
        "foreground classes' IoU. p is one-sided and adjusted for all checks (Holm); worse: p ≤ "
        '0.05. A check finds the minimum detectable drop with a probability of 80 %. It is '
        f'inconclusive if neither a drop is found nor one of {result.drop:g} (--drop) is excluded.',
    ]  # fmt: skip
    return '\n\n'.join(parts + [f'- {markdown.escape(note)}' for note in result.notes])


def _message(one: Outcome, drop: float) -> str:
    if one.verdict == VERDICTS[3]:
        return f'too few images: {one.images}'
    text = (
        f'{number(one.baseline)} → {number(one.new)}, difference '
        f'{number(one.difference, one.interval, "+.3f")}, p {number(one.p, spec=".2g")}, '
        f'minimum detectable drop {number(one.minimum_detectable)}'
    )
    return f'{text}: a drop of {drop:g} is not excluded' if one.verdict == VERDICTS[2] else text


def write_junit(result: Gate, path: pathlib.Path) -> None:
    """Writes JUnit XML: worse is a failure; inconclusive and not tested are skipped.

    Raises:
      OSError: the file cannot be written.
    """
    skipped = result.count(VERDICTS[2]) + result.count(VERDICTS[3])
    numbers = {'tests': len(result.outcomes), 'failures': result.count(VERDICTS[0]), 'errors': 0}
    suite = ElementTree.Element(
        'testsuite',
        {'name': 'analysis.check', 'skipped': str(skipped)}
        | {name: str(value) for name, value in numbers.items()},
    )
    for one in result.outcomes:
        # XML has no way to write control characters.
        case = ElementTree.SubElement(
            suite, 'testcase', classname=one.kind, name=markdown.printable(one.name), time='0'
        )
        message = _message(one, result.drop)
        if one.verdict == VERDICTS[0]:
            ElementTree.SubElement(case, 'failure', message=message, type=one.verdict)
        elif one.verdict != VERDICTS[1]:
            ElementTree.SubElement(case, 'skipped', message=f'{one.verdict}: {message}')
        ElementTree.SubElement(case, 'system-out').text = message
    suites = ElementTree.Element('testsuites')
    suites.append(suite)
    ElementTree.indent(suites)
    text = ElementTree.tostring(suites, encoding='unicode')
    write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n')
