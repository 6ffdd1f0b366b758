"""The page of an inspection: one HTML file without scripts that needs no other file."""

import collections
import html
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from segmentation.data import coco, entries
from segmentation.data.inspection import drawing, gallery, statistics, summary
from segmentation.data.inspection.scan import Scan
from segmentation.markdown import printable

_STYLE = pathlib.Path(__file__).with_name('page.css')
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# Categories of which single objects are shown, groups of copies, and kinds in a caption.
_CATEGORIES, _COPIES, _KINDS = 24, 12, 8


def render(prepared: coco.Prepared, scan: Scan) -> str:
    """The page as HTML; all text from the data is escaped."""
    rows = statistics.categories(scan, prepared.categories)
    ranks = {(row.name, row.supercategory): rank for rank, row in enumerate(rows)}
    colors = [drawing.color(ranks[c.name, c.supercategory]) for c in prepared.categories]
    pictures = _Pictures(prepared, scan, colors)
    sections = [
        (section.title, f'images{number}', _section(section, pictures))
        for number, section in enumerate(gallery.choose(prepared, scan))
    ]
    parts = [
        ('Categories', 'categories', _categories(scan, rows)),
        ('Left out, repaired, noted', 'repairs', _skipped(prepared)),
        ('Copies', 'copies', _copies(scan, pictures)),
        *sections[: len(scan.splits)],
        ('Objects', 'objects', _objects(scan, pictures)),
        *sections[len(scan.splits) :],
        ('Sizes', 'sizes', _sizes(scan)),
    ]
    links = ''.join(f'<a href="#{key}">{_escape(title)}</a>' for title, key, _ in parts)
    body = ''.join(
        f'<h2 id="{key}">{_escape(title)}</h2>{content}' for title, key, content in parts
    )
    name = prepared.path.parent.name
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{_escape(name)}: inspection</title><style>{_STYLE.read_text()}</style></head>'
        f'<body><main><h1>{_escape(name)}</h1>'
        f'<p class="soft">Prepared data set, fingerprint {_escape(prepared.fingerprint["id"])}. '
        'Images are shown as training reads them. Point at an image to see it without masks.</p>'
        f'{_tiles(prepared, scan)}<nav>{links}'
        '<label><input type="checkbox" id="masks" checked> masks</label></nav>'
        f'{body}</main></body></html>\n'
    )


def _escape(text: object) -> str:
    return html.escape(printable(str(text)))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]) -> str:
    """A table of cells in HTML; the columns `numbers` are aligned to the right."""

    def cell(tag: str, column: int, text: str) -> str:
        return f'<{tag} class="{"number" if column in numbers else "name"}">{text}</{tag}>'

    head = ''.join(cell('th', k, _escape(text)) for k, text in enumerate(header))
    lines = (''.join(cell('td', k, text) for k, text in enumerate(row)) for row in rows)
    body = ''.join(f'<tr>{line}</tr>' for line in lines)
    head = f'<thead><tr>{head}</tr></thead>'
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _swatch(shade: tuple[int, int, int]) -> str:
    return f'<i class="swatch" style="background:rgb{shade}"></i>'


def _bar(value: float, largest: float) -> str:
    return f'<span class="bar"><i style="width:{100 * value / max(largest, 1e-9):.1f}%"></i></span>'


def _tiles(prepared: coco.Prepared, scan: Scan) -> str:
    lost = sum(
        entry['count'] for reasons in prepared.skipped.values() for entry in reasons.values()
    )
    tiles = [
        *(
            (f'images in {name}', int((scan.split == number).sum()))
            for number, name in enumerate(scan.splits)
        ),
        ('instances', len(scan.instances.image)),
        ('categories', len(prepared.categories)),
        ('left out or repaired', lost),
        ('images with a copy', statistics.copies(scan)['images']),
    ]
    return '<div class="tiles">{}</div>'.format(
        ''.join(f'<div class="tile"><b>{n:,}</b>{_escape(text)}</div>' for text, n in tiles)
    )


def _categories(scan: Scan, rows: list[statistics.CategoryRow]) -> str:
    totals = [sum(row.instances) for row in rows]
    header = ['category', 'super-category', *(f'images in {name}' for name in scan.splits)]
    header += ['instances', '', 'crowds', 'pixels', 'median side']
    lines = []
    for rank, (row, total) in enumerate(zip(rows, totals, strict=True)):
        lines.append([
            _swatch(drawing.color(rank)) + _escape(row.name), _escape(row.supercategory),
            *(f'{n:,}' if n else '<span class="alarm">0</span>' for n in row.images),
            f'{total:,}', _bar(total, max(totals)), f'{row.crowds:,}', f'{row.pixels:.2%}',
            '–' if row.median_side is None else f'{row.median_side:.1%}',
        ])  # fmt: skip
    bar = 3 + len(scan.splits)
    numbers = [*range(2, bar), *range(bar + 1, bar + 4)]
    return (
        '<p class="soft">Pixels: share of all pixels; instances that overlap count twice. Median '
        'side: median over the objects of √(area / area of the image).</p>'
        + _table(header, lines, numbers)
    )


def _sizes(scan: Scan) -> str:
    small = ', '.join(f'{n:,} at {k}×{k}' for k, n in statistics.below_a_pixel(scan).items())
    blocks = []
    for title, counts in (
        ('side of objects', statistics.side_histogram(scan)),
        ('width × height of images', statistics.image_sizes(scan)),
    ):
        largest = max(n for _, n in counts)
        rows = [[_escape(name), f'{n:,}', _bar(n, largest)] for name, n in counts]
        blocks.append(_table([title, 'number', ''], rows, [1]))
    return (
        f'<p>Objects smaller than one pixel of the network input: {small}. They cannot be learned '
        f'at that data.image_size.</p><div class="columns">{"".join(blocks)}</div>'
    )


def _skipped(prepared: coco.Prepared) -> str:
    rows = [
        [
            _escape(split), _escape(mark + reason), f'{entry["count"]:,}',
            _escape(entries.show_examples(entry)),
        ]
        for mark, report in (('', prepared.skipped), ('note: ', prepared.notes))
        for split, reasons in report.items()
        for reason, entry in reasons.items()
    ]  # fmt: skip
    if not rows:
        return '<p>Nothing was left out, repaired or noted.</p>'
    return _table(['split', 'what', 'number', 'examples (ids or names)'], rows, [2])


class _Pictures:
    """Draws images of a data set."""

    def __init__(self, prepared: coco.Prepared, scan: Scan, colors: list[tuple[int, int, int]]):
        self.scan, self.colors = scan, colors
        self.names = [category.name for category in prepared.categories]
        self.splits = [prepared.split(name) for name in scan.splits]

    def record(self, row: int) -> dict:
        return self.splits[self.scan.split[row]][int(self.scan.position[row])]

    def figure(self, row: int, note: str = '', marked: Sequence[int] = ()) -> str:
        """An image with its masks and a caption."""
        scan = self.scan
        mine = np.flatnonzero(scan.instances.image == row)
        kinds = scan.instances.category[mine].tolist()
        image, mask, (width, height) = drawing.picture(
            self.record(row), [self.colors[kind] for kind in kinds],
            scan.instances.number[list(marked)].tolist(),
        )  # fmt: skip
        counted = collections.Counter(kinds).most_common()
        legend = ''.join(
            f'<span class="kind">{_swatch(self.colors[kind])}{n} {_escape(self.names[kind])}</span>'
            for kind, n in counted[:_KINDS]
        )
        if len(counted) > _KINDS:
            legend += f'and {len(counted) - _KINDS} more categories'
        size = f'width="{width}" height="{height}"'
        note = f'<span class="note">{_escape(note)}</span><br>' if note else ''
        return (
            f'<figure><span class="picture"><img src="{image}" {size} alt="">'
            f'<img class="mask" src="{mask}" alt=""></span>'
            f'<figcaption>{note}{legend or "no instance"}<br><span class="soft">'
            f'{_escape(self.place(row))} · {scan.width[row]} × {scan.height[row]}'
            '</span></figcaption></figure>'
        )

    def place(self, row: int) -> str:
        """Split, file name and id of an image."""
        scan = self.scan
        split = scan.splits[scan.split[row]]
        return f'{split}/{scan.file_name[row]} (id {scan.image_id[row]})'

    def crop(self, instance: int) -> str:
        """One object."""
        found = self.scan.instances
        row, kind = int(found.image[instance]), int(found.category[instance])
        shown = drawing.crop(self.record(row), int(found.number[instance]), self.colors[kind])
        side = drawing.CROP
        title = _escape(f'{self.place(row)}, annotation {found.id[instance]}')
        return f'<img src="{shown}" width="{side}" height="{side}" alt="" title="{title}">'


def _objects(scan: Scan, pictures: _Pictures) -> str:
    counts = np.bincount(scan.instances.category, minlength=len(scan.samples))
    order = [kind for kind in np.argsort(-counts, kind='stable').tolist() if counts[kind]]
    blocks = []
    for kind in order[:_CATEGORIES]:
        name = _swatch(pictures.colors[kind]) + _escape(pictures.names[kind])
        crops = ''.join(map(pictures.crop, scan.samples[kind].tolist()))
        blocks.append(f'<div><span class="label">{name}</span>{crops}</div>')
    text = 'Random objects of each category, with a margin around them.'
    if (more := len(order) - _CATEGORIES) > 0:
        text += f' The {more} rarest categories are left out.'
    return f'<p class="soft">{text}</p><div class="crops">{"".join(blocks)}</div>'


def _copies(scan: Scan, pictures: _Pictures) -> str:
    groups = scan.copies()
    if not groups:
        return f'<p>{_escape(summary.copies_text(scan))}</p>'
    groups.sort(key=lambda rows: not scan.crosses(rows))
    figures = []
    for rows in groups[:_COPIES]:
        what = 'across splits' if scan.crosses(rows) else 'within a split'
        differ = ', labels differ' if len(set(scan.labels[rows].tolist())) > 1 else ''
        others = ', '.join(pictures.place(row) for row in rows[1:6].tolist())
        note = f'{len(rows)} copies {what}{differ}; also {others}'
        figures.append(pictures.figure(int(rows[0]), note))
    more = f' The first {_COPIES} groups are shown.' if len(groups) > _COPIES else ''
    return (
        f'<p>{_escape(summary.copies_text(scan))}{more} Copies across splits make a score on the '
        f'other split look better than it is.</p><div class="images">{"".join(figures)}</div>'
    )


def _section(section: gallery.Section, pictures: _Pictures) -> str:
    figures = ''.join(
        pictures.figure(shown.row, shown.note, shown.marked) for shown in section.images
    )
    return f'<p class="soft">{_escape(section.text)}</p><div class="images">{figures}</div>'
