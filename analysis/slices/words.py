"""Conditions in words: 'person covers at least 17 % of the image'."""

from collections.abc import Sequence

from analysis.slices.schema import Condition

# The column of a condition, or how its name begins: words, in which {} is for 'at least 17', and
# the factor by which the value is multiplied.
_WORDS = {
    'width': ('width {} pixels', 1),
    'height': ('height {} pixels', 1),
    'aspect_ratio': ('width {} times the height', 1),
    'brightness': ('brightness {} of 255', 1),
    'contrast': ('contrast {} of 255', 1),
    'sharpness': ('sharpness {}', 1),
    'saturation': ('saturation {} %', 100),
    'hue_std': ('hues spread by {} degrees', 1),
    'crowd_percent': ('crowds cover {} % of the image', 1),
    'smallest_instance': ('the smallest instance covers {} % of the image', 1),
    'truncated_share': ('{} % of the instances are cut off by the border', 100),
    # Of objects.
    'area': ('it covers {} % of the image', 1),
    'box_ratio': ('its width is {} times its height', 1),
    'touching': ('{} % of its surroundings are other objects', 100),
}
_FLAGS = {
    ('is_colored', True): 'the file has colors',
    ('is_colored', False): 'the file has no colors',
    ('is_grayscale', True): 'the image is gray',
    ('is_grayscale', False): 'the image is not gray',
    ('truncated', True): 'it is cut off by the border',
    ('truncated', False): 'it is not cut off by the border',
}
_NAMED = {
    'percent_': '{name} covers {} % of the image',
    'mean_size_': 'the average {name} covers {} % of the image',
}
_COUNTED = 'num_', 'count_'
_RELATIONS = {'<=': 'at most', '>=': 'at least', 'is': 'exactly'}


def describe(conditions: Sequence[Condition]) -> str:
    """Conditions in words, joined by 'and'; two bounds of a column are one range."""
    by_column: dict[str, dict[str, bool | int | float]] = {}
    for column, relation, value in conditions:
        by_column.setdefault(column, {})[relation] = value
    words = []
    for column, bounds in by_column.items():
        if bounds.keys() == {'<=', '>='}:
            words.append(_range(column, bounds['>='], bounds['<=']))
        else:
            words += [_words(column, relation, value) for relation, value in bounds.items()]
    text = ' and '.join(words)
    return text.replace('at least 100 %', '100 %').replace('at most 0 %', '0 %')


def _range(column: str, low: float, high: float) -> str:
    factor = _WORDS[column][1] if column in _WORDS else 1
    ends = f'between {factor * low:.6g} and {factor * high:.6g}'
    return _words(column, '<=', high).replace(f'at most {factor * high:.6g}', ends)


def _words(column: str, relation: str, value: bool | int | float) -> str:
    if isinstance(value, bool):
        return _FLAGS.get((column, value), f'{"" if value else "not "}{column}')
    if column == 'cluster':
        return f'in cluster {value:g}'
    if column in _WORDS:
        words, factor = _WORDS[column]
        return words.format(f'{_RELATIONS[relation]} {factor * value:.6g}')
    bound = f'{_RELATIONS[relation]} {value:g}'
    for start, words in _NAMED.items():
        if column.startswith(start):
            name = column.removeprefix(start)
            if value == 0 and relation != '>=':
                return f'no {name}'
            return words.replace('{}', bound).replace('{name}', name)
    for start in _COUNTED:
        if column.startswith(start):
            name = column.removeprefix(start)
            if value == 0 and relation != '>=':
                return 'no instance' if name == 'instances' else f'no {name}'
            unit = 'instance' if value == 1 else 'instances'
            return f'{bound} {unit}' if name == 'instances' else f'{bound} {unit} of {name}'
    return f'{column} {bound}'
