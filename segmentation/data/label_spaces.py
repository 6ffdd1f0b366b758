"""Label spaces: which COCO categories make up which class.

A label space is one line, `class: name, name; class: name, …`, with names of COCO categories or
super-categories; a name that is both means the category. Classes are numbered from 1 in that
order, 0 is background, and 255 marks pixels to ignore.
"""

import dataclasses
import difflib
import shlex
from collections.abc import Iterable, Sequence

from segmentation.data.annotations import Category
from segmentation.data.masks import IGNORE
from segmentation.markdown import printable

_FIELD = 'data.label_space'
_LISTED = 30  # categories that an error message names

LABEL_SPACES = {
    'person_car': 'person: person; car: car',
    # The published vehicle experiment; COCO's own super-category also has bicycles, motorcycles,
    # airplanes and boats.
    'person_vehicle': 'person: person; vehicle: car, bus, truck, train',
    'person_any_vehicle': 'person: person; vehicle: vehicle',
}


@dataclasses.dataclass(frozen=True)
class LabelSpace:
    """Ordered classes."""

    class_names: tuple[str, ...]  # 'background' first
    # Names of the categories or super-categories of each class; none for background.
    members: tuple[tuple[str, ...], ...]

    def category_to_class(self, categories: Sequence[Category]) -> dict[int, int]:
        """Maps category ids of a data set to classes 1, 2, …; all others are background.

        Raises:
          ValueError: the data set lacks a name, or a category is in two classes.
        """
        result: dict[int, int] = {}
        for label, names in enumerate(self.members):
            for key in category_ids(names, categories, _FIELD):
                if result.setdefault(key, label) != label:
                    name = next(c.name for c in categories if c.id == key)
                    raise ValueError(
                        f'Category {name!r} is in two classes, '
                        f'{self.class_names[result[key]]!r} and {self.class_names[label]!r}'
                    )
        return result


def parse_label_space(text: str) -> LabelSpace:
    """Parses a name in `LABEL_SPACES` or a label space in one line.

    Raises:
      ValueError: unknown name or malformed line.
    """
    text = text.strip()
    if ':' not in text:
        if text not in LABEL_SPACES:
            raise ValueError(
                f'Unknown label space {text!r}{_near(text, LABEL_SPACES)}. Write one as '
                "'class: category, category; class: …', or use one of " + ', '.join(LABEL_SPACES)
            )
        text = LABEL_SPACES[text]
    groups = parse_groups(text)
    if 'background' in groups:
        raise ValueError(f"'background' is always class 0; the label space {text!r} names it too")
    if len(groups) >= IGNORE:
        raise ValueError(f'A label space has at most {IGNORE - 1} classes, not {len(groups)}')
    return LabelSpace(('background', *groups), ((), *groups.values()))


def categories_by_class(
    space: LabelSpace, categories: Sequence[Category]
) -> dict[str, tuple[str, ...]]:
    """The names of the categories of each class but the background, in alphabetical order."""
    found: dict[str, set[str]] = {name: set() for name in space.class_names[1:]}
    names = {category.id: category.name for category in categories}
    for key, number in space.category_to_class(categories).items():
        found[space.class_names[number]].add(names[key])
    return {name: tuple(sorted(mine)) for name, mine in found.items()}


def parse_groups(text: str) -> dict[str, tuple[str, ...]]:
    """Parses 'group: name, name; group: …', in this order.

    Raises:
      ValueError: malformed part, or a group that occurs twice.
    """
    groups = {}
    for part in text.rstrip('; ').split(';'):
        group, colon, rest = part.partition(':')
        group = group.strip()
        names = tuple(name.strip() for name in rest.split(','))
        if not colon or not group or not all(names) or ':' in rest:
            raise ValueError(f"{part.strip()!r} in {text!r} is not of the form 'group: name, name'")
        if group in groups:
            raise ValueError(f'{group!r} occurs twice in {text!r}')
        groups[group] = names
    return groups


def category_ids(
    names: Iterable[str], categories: Sequence[Category], field: str = ''
) -> list[int]:
    """Ids of the named categories; a super-category stands for all of its categories.

    Args:
      names: of categories or super-categories.
      categories: of the data set.
      field: of the config that has the names, for the error message.

    Raises:
      ValueError: the data set has no category or super-category of this name; lists those it has.
    """
    result = []
    for name in names:
        ids = [c.id for c in categories if c.name == name]
        ids = ids or [c.id for c in categories if name and c.supercategory == name]
        if not ids:
            known = [c.name for c in categories] + [c.supercategory for c in categories]
            raise ValueError(
                f'{field}{": " if field else ""}The data set has no category or super-category '
                f'{name!r}{_near(name, known)}. {_describe(categories, field == _FIELD)}'
            )
        result += ids
    return list(dict.fromkeys(result))


def can_name(name: str) -> bool:
    """Whether a label space can have a class of this name."""
    return name != 'background' and not set(name) & set(':;,')


def one_class_each(categories: Sequence[Category]) -> str:
    """The label space in which each category is a class of its own.

    Categories whose names a label space cannot express are left out.
    """
    names = dict.fromkeys(c.name for c in categories if can_name(c.name))
    return '; '.join(f'{name}: {name}' for name in [*names][: IGNORE - 1])


def _describe(categories: Sequence[Category], as_classes: bool) -> str:
    """The categories of a data set and, if asked, how to make classes of them."""
    groups = sorted({c.supercategory for c in categories if c.supercategory})
    text = f'It has the categories {_listed([c.name for c in categories])}'
    text += f' and the super-categories {_listed(groups)}.' if groups else '.'
    if as_classes and len(categories) <= _LISTED:
        space = shlex.quote(one_class_each(categories))
        text += f' To make each category a class: --config.{_FIELD}={space}'
    elif as_classes:
        text += f" To choose classes: --config.{_FIELD}='class: category, category; class: …'"
    return text


def _listed(names: Sequence[str]) -> str:
    more = f' and {len(names) - _LISTED} more' if len(names) > _LISTED else ''
    return printable(', '.join(names[:_LISTED])) + more


def _near(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, set(known), cutoff=0.5)
    return f' (did you mean {" or ".join(map(repr, matches))}?)' if matches else ''
