"""The report says what the artifacts say, and does no harm with any name that is in them."""

import base64
import dataclasses
import hashlib
import io
import itertools
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from analysis.clusters.schema import Clusters
from analysis.label_issues.schema import LabelIssues
from analysis.objects.schema import Objects
from analysis.report import columns as report_columns
from analysis.report import stage as report
from analysis.report import view_data
from analysis.samples.schema import Samples
from analysis.similar.schema import Similar
from analysis.slices.conditions import load_columns, membership
from analysis.slices.schema import Condition
from analysis.stage import artifacts
from analysis.stage.view import open_view
from segmentation.data import selection
from tests.report_fixture import findings, made_run, scenes


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Two analyses of a run, with names that try to be markup."""
    workdir = tmp_path_factory.mktemp('report') / 'this'
    made_run.write_run(workdir, 80, hostile=True)
    made_run.write_run(workdir, 60, seed=0, name='train-300', only=('similarity_map',))
    return workdir


@pytest.fixture(scope='module')
def folder(run):
    assert report.main(['--workdir', str(run)]) == 0
    return run / 'report'


def _provided(text):
    """Keys and values of the pieces in some JavaScript."""
    calls = [call[:-3] for call in text.split('explorer.provide(') if call.endswith(');\n')]
    return dict(json.loads(f'[{call}]') for call in calls)


def _piece(folder, path, key):
    return _provided((folder / 'data' / path).read_text())[key]


def _view(folder, name):
    """The piece of a view; its columns get their values, which are pieces of their own."""
    pieces = {}
    for path in (folder / 'data' / name).rglob('*.js'):
        if path.name == 'view.js' or path.parent.name == 'columns':
            pieces |= _provided(path.read_text())
    view = pieces[f'view/{name}']
    for number, column in enumerate(view['columns']):
        column['values'] = pieces[f'column/{name}/{number}']
    return view


def _decode(encoded):
    data = base64.b64decode(encoded['base64'])
    array = np.frombuffer(data, np.dtype(encoded['dtype']).newbyteorder('<'))
    array = array.reshape(encoded['shape'])
    if 'missing' in encoded:
        array = np.where(array == encoded['missing'], np.nan, array.astype(np.float64))
    return array


def _values(column):
    """Values of a column as Parquet has them, None for null."""
    if column['kind'] == 'text':
        data, ends = column['values']['text'].encode('utf-16-le'), _decode(column['values']['ends'])
        texts = [data[2 * a : 2 * b] for a, b in itertools.pairwise([0, *ends.tolist()])]
        return [text.decode('utf-16-le') or None for text in texts]
    values = _decode(column['values'])
    if column['kind'] == 'category':
        return [column['categories'][v] if v != 65535 else None for v in values]
    if column['kind'] == 'boolean':
        return [{0: False, 1: True, 255: None}[v] for v in values.tolist()]
    return [None if np.isnan(v) else v for v in values.tolist()]


def _files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def test_columns_are_those_of_the_samples(run, folder):
    view = _view(folder, 'val-600')
    table = artifacts.load(open_view(run, 'val-600'), Samples).table
    columns = {column['name']: column for column in view['columns']}
    for field in table.schema:
        expected, found = table[field.name].to_pylist(), _values(columns[field.name])
        if columns[field.name]['values'] and 'float' in str(field.type):
            nan = [np.nan if value is None else value for value in expected]
            found = [np.nan if value is None else value for value in found]
            np.testing.assert_allclose(found, np.array(nan), rtol=1e-6)
        else:
            assert found == expected
        assert columns[field.name]['role'] == field.metadata[b'role'].decode()
        assert columns[field.name]['unit'] == field.metadata[b'unit'].decode()
        assert columns[field.name]['description']
    assert columns['num_person']['values']['dtype'] == 'uint8'
    assert columns['iou_car']['description'].startswith('intersection over union')
    assert columns['num_car']['description'] == 'of the class, without crowd regions'


def test_everything_else_goes_by_rows_of_the_samples(run, folder):
    analysis = open_view(run, 'val-600')
    view = _view(folder, 'val-600')
    findings = _piece(folder, 'val-600/findings.js', 'findings/val-600')
    columns = {column['name']: column for column in view['columns']}

    clusters = artifacts.load(analysis, Clusters)
    label = clusters.label
    names = [f'{k}: {name}' for k, name in enumerate(clusters.names)]
    assert _values(columns['cluster']) == [names[k] for k in label]
    for k, cluster in enumerate(findings['clusters']):
        assert cluster['size'] == (label == k).sum()
        assert cluster['exemplars'] and (label[cluster['exemplars']] == k).all()
        assert (folder / 'data/val-600' / cluster['heat_map']).is_file()

    inside = load_columns(analysis)
    for part in findings['slices'].values():
        for row in part['slices']:
            member = np.array(_values(columns[f'slice: {row["text"]}']))
            conditions = [Condition(*condition) for condition in row['conditions']]
            assert not member[~membership(inside, conditions)].any()
            assert member.sum() == row['size'] and member[row['worst']].all()

    issues = artifacts.load(analysis, LabelIssues)
    worst = issues.worst_errors()
    expected = [worst.get(row, (0.0, None)) for row in range(len(analysis))]
    scores, kinds = zip(*expected, strict=True)
    np.testing.assert_allclose(
        _decode(columns['label_issue_probability']['values']), scores, rtol=1e-6
    )
    assert _values(columns['label_issue_kind']) == list(kinds)
    best = issues.regions.to_pylist()[0]
    assert findings['label_issues'][0]['score'] == best['score']
    assert findings['label_issues'][0]['row'] == best['row']
    assert findings['label_issues_total'] == issues.firsts().sum()
    grouped = [tuple(place) for group in findings['slice_groups'] for place in group]
    assert sorted(grouped) == sorted(
        (metric, place)
        for metric, part in findings['slices'].items()
        for place in range(len(part['slices']))
    )

    nearest = _piece(folder, 'val-600/similar/0.js', 'similar/val-600/0')
    similar = artifacts.load(analysis, Similar)
    for key in ('index', 'distance'):
        np.testing.assert_array_equal(_decode(nearest['all'][key]), getattr(similar, key))
    assert view['missing'] == []
    assert _view(folder, 'train-300')['missing'] != []


def test_objects_are_a_view_of_their_own(run, folder):
    found = artifacts.load(open_view(run, 'val-600'), Objects)
    name = 'val-600-objects'
    view = _view(folder, name)
    assert view['rows_are'] == 'objects' and view['n'] == found.num_objects
    columns = {column['name']: column for column in view['columns']}
    assert _values(columns[view['key']]) == found.table['annotation_id'].to_pylist()
    assert _values(columns['predicted']) == found.table['predicted'].to_pylist()
    assert 'label_next' in view['unavailable'] and 'similarity_map' not in view['unavailable']
    np.testing.assert_array_equal(_decode(view['map_2d']), found.map_2d)
    nearest = _piece(folder, f'{name}/similar/0.js', f'similar/{name}/0')
    assert list(nearest) == view['similar']['parts'] == ['all', 'color']
    np.testing.assert_array_equal(_decode(nearest['all']['index']), found.index)
    np.testing.assert_array_equal(_decode(nearest['color']['index']), found.index_by_block[0])
    findings = _piece(folder, f'{name}/findings.js', f'findings/{name}')
    (one,) = findings['slices']['loss']['slices']
    member = np.array(_values(columns[f'slice: {one["text"]}']))
    assert member.sum() == one['size'] and findings['slice_groups'] == [[['loss', 0]]]
    assert findings['objects']['confusion'] == [list(row) for row in found.confusion]
    for sheet in view['pictures']['sheets']:
        for kind, path in sheet.items():
            written = (folder / 'data' / name / path).read_bytes()
            assert written == (run / 'analysis/val-600/objects' / path).read_bytes(), kind


def test_heat_maps_of_other_clusters_are_left_out(run, tmp_path):
    workdir = shutil.copytree(run, tmp_path / 'run', ignore=shutil.ignore_patterns('report'))
    analysis = open_view(workdir, 'val-600')
    clusters = artifacts.load(analysis, Clusters)
    artifacts.save(analysis, dataclasses.replace(clusters, label=clusters.label[::-1]))
    assert report.main(['--workdir', str(workdir)]) == 0
    findings = _piece(workdir / 'report', 'val-600/findings.js', 'findings/val-600')
    assert all(cluster['heat_map'] is None for cluster in findings['clusters'])
    details = _view(workdir / 'report', 'val-600')['pictures']['details']
    assert {tuple(paths['saliency']) for paths in details.values()} == {('person', 'car', 'loss')}


def test_outlines_of_regions(folder):
    regions = _piece(folder, 'val-600/findings.js', 'findings/val-600')['label_issues']
    for region in regions[:10]:
        data = base64.b64decode(region['mask'].removeprefix('data:image/webp;base64,'))
        mask = np.asarray(Image.open(io.BytesIO(data)).convert('RGBA'))
        y, x = np.nonzero((mask == 255).all(-1))
        left, top, right, bottom = (128 * side for side in region['box'])
        # The line lies inside of the box, and touches it to within a pixel of the label.
        assert left - 3 <= x.min() <= left + 3 and right - 4 <= x.max() <= right + 3
        assert top - 3 <= y.min() <= top + 3 and bottom - 4 <= y.max() <= bottom + 3
        middle = mask[int(top + bottom) // 2, int(left + right) // 2]
        assert middle[3] == 0


def test_manifest_and_pictures(run, folder):
    manifest = _piece(folder, 'manifest.js', 'manifest')
    names = ['val-600', 'val-600-objects', 'train-300']
    assert [view['name'] for view in manifest['views']] == names
    assert manifest['default'] == 'val-600'
    assert manifest['class_colors'][:2] == ['#000000', '#e69f00']
    view = _view(folder, 'val-600')
    for sheet in view['pictures']['sheets']:
        for path in sheet.values():
            assert (folder / 'data/val-600' / path).is_file()
    for paths in view['pictures']['details'].values():
        several = [*paths.pop('classes').values(), *paths.pop('saliency').values()]
        for path in [*paths.values(), *several]:
            assert (folder / 'data/val-600' / path).is_file()


def test_names_are_only_ever_text(folder):
    view = _view(folder, 'val-600')
    files = next(column for column in view['columns'] if column['name'] == 'file_name')
    assert tuple(_values(files)[: len(scenes.HOSTILE)]) == scenes.HOSTILE
    for path in (folder / 'data').rglob('*.js'):
        text = path.read_text()
        assert text.isascii() and not re.search(r'[<>&\x00-\x09\x0b-\x1f\x7f]', text)


def test_same_artifacts_same_report(run, folder, tmp_path):
    assert report.main(['--workdir', str(run), '--output', str(tmp_path / 'again')]) == 0
    assert _files(tmp_path / 'again') == _files(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['again']


def test_killed_in_replacing_a_report(run, folder, tmp_path, monkeypatch):
    again, arguments = tmp_path / 'again', ['--workdir', str(run), '--output', f'{tmp_path}/again']
    assert report.main(arguments) == 0

    class Killed(BaseException):
        pass

    def begin_to_remove(path, **_):
        if path.exists():
            (path / 'data' / 'manifest.js').unlink()
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(shutil, 'rmtree', begin_to_remove)
        report.main(arguments)
    assert report.main(arguments) == 0
    assert _files(again) == _files(folder)
    assert [path.name for path in tmp_path.iterdir()] == ['again']


def test_samples_are_enough(tmp_path, capsys):
    made_run.write_run(tmp_path / 'run', 40, only=())
    before = _files(tmp_path / 'run')
    out, result = tmp_path / 'out', tmp_path / 'result.json'
    command = ['--workdir', str(tmp_path / 'run'), '--output', str(out), '--json', str(result)]
    assert report.main(command) == 0
    assert _files(tmp_path / 'run') == before
    view = _view(out, 'val-600')
    assert 'clusters' in view['missing'] and 'pictures' in view['missing']
    assert not view['has_findings'] and 'map_2d' not in view
    assert 'clusters' in capsys.readouterr().out
    assert json.loads(result.read_text())['manifest']['views'][0]['n'] == 40


def test_what_does_not_fit_is_refused(run, tmp_path, capsys):
    workdir = shutil.copytree(run, tmp_path / 'run', ignore=shutil.ignore_patterns('report'))
    folder = workdir / 'analysis' / 'val-600'
    other = made_run.write_run(tmp_path / 'other', 80, seed=1, only=('similarity_map',))
    command = ['--workdir', str(workdir)]
    for name in ('similarity_map.json', 'similarity_map.npz'):
        shutil.copyfile(other.folder / name, folder / name)
    assert report.main(command) == 1
    assert (
        'similarity_map.json is of another checkpoint, of other images' in capsys.readouterr().err
    )
    for name in ('similarity_map.json', 'similarity_map.npz'):
        shutil.copyfile(run / 'analysis/val-600' / name, folder / name)
    described = (folder / 'pictures.json').read_text()
    (folder / 'pictures.json').write_text(described.replace('"num_sheets": 3', '"num_sheets": 9'))
    assert report.main(command) == 1
    assert 'pictures.json is damaged' in capsys.readouterr().err
    (folder / 'pictures.json').write_text(described)
    (folder / 'pictures/sheets/00000-truth.webp').unlink()
    assert report.main(command) == 1
    assert 'truth.webp is missing' in capsys.readouterr().err
    assert report.main([*command, '--first', 'val-7']) == 1
    assert 'val-7: there is no such view; there are val-600, train-300' in capsys.readouterr().err
    assert report.main(['--workdir', str(tmp_path / 'none')]) == 1
    assert str(tmp_path / 'none') in capsys.readouterr().err
    assert not (workdir / 'report').exists() and not list(workdir.glob('.*'))


def test_other_folders_are_left_alone(run, folder, tmp_path, capsys):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.txt').write_text('years of work')
    command = ['--workdir', str(run), '--output']
    assert report.main([*command, str(tmp_path / 'mine')]) == 1
    assert 'is not a report' in capsys.readouterr().err
    assert report.main([*command, str(tmp_path / 'mine/thesis.txt'), '--single_file']) == 1
    assert 'is not a report' in capsys.readouterr().err
    assert _files(tmp_path) == {'mine/thesis.txt': b'years of work'}
    # A report is replaced, whatever else is in its folder.
    shutil.copytree(folder, tmp_path / 'old')
    (tmp_path / 'old' / 'data' / 'stale.js').write_text('')
    assert report.main([*command, str(tmp_path / 'old')]) == 0
    assert _files(tmp_path / 'old') == _files(folder)


def test_two_models(run, tmp_path):
    other = tmp_path / 'other'
    made_run.write_run(other, 80, name='val-500')
    this = open_view(run, 'val-600')
    findings.write_comparison(this, open_view(other, 'val-500'))
    out = tmp_path / 'report'
    assert report.main(['--workdir', str(run), '--other', str(other), '--output', str(out)]) == 0
    manifest = _piece(out, 'manifest.js', 'manifest')
    names = [view['name'] for view in manifest['views']]
    images = [name for name in names if not name.endswith('-objects')]
    assert images == ['val-600', 'train-300', 'other-val-500']
    assert names[-1] == 'other-val-500-objects'
    (comparison,) = manifest['compare']
    assert (comparison['this'], comparison['other']) == ('val-600', 'other-val-500')
    content = _piece(out, comparison['file'], f'compare/{comparison["name"]}')
    ids = []
    for side in ('this', 'other'):
        name = comparison[side]
        view = _view(out, name)
        image_id = next(c for c in view['columns'] if c['name'] == 'image_id')
        ids.append(_decode(image_id['values'])[_decode(content['rows'][side])])
    np.testing.assert_array_equal(*ids)
    assert len(ids[0]) == 80
    assert content['scores'][0]['difference'] == 0.03


def test_single_file(run, tmp_path, capsys):
    out = tmp_path / 'new' / 'report.html'
    command = ['--workdir', str(run), '--output', str(out), '--single_file']
    assert report.main(command) == 0
    page = out.read_text()
    # Only the scripts that are there may run, and nothing is asked for.
    scripts = re.findall(r'<script>(.*?)</script>', page, re.DOTALL)
    policy = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]*)"', page)[1]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in scripts]
    assert re.findall(r"'sha256-([^']*)'", policy) == [digest.decode() for digest in hashes]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    markup = re.sub(r'<script>.*?</script>|<style>.*?</style>', '', page, flags=re.DOTALL)
    assert not re.search(r'\bsrc=|rel="stylesheet"|https?:', markup)
    assert page.lower().count('<script') == page.lower().count('</script') == len(scripts)
    data = next(text for text in scripts if text.startswith('explorer.provide("files"'))
    pieces = _provided(data)
    view = pieces['view/val-600']
    paths = {path for sheet in view['pictures']['sheets'] for path in sheet.values()}
    for path in paths:
        kind, content = pieces['files'][f'val-600/{path}'].split(';')
        assert kind == 'image/webp'
        assert Image.open(io.BytesIO(base64.b64decode(content))).format == 'WEBP'

    # Less room: smaller thumbnails, fewer large pictures; none at all is refused.
    full = len(page)
    bare = len(page) - len(json.dumps(pieces['files']))
    limit = (bare + 0.35 * (full - bare)) / 1e6
    assert report.main([*command, '--megabytes', str(limit)]) == 0
    assert out.stat().st_size <= limit * 1e6
    scripts = re.findall(r'<script>(.*?)</script>', out.read_text(), re.DOTALL)
    less = _provided(next(t for t in scripts if t.startswith('explorer.provide("files"')))
    small = less['view/val-600']['pictures']
    assert (small['thumb_size'], len(small['details'])) < (
        view['pictures']['thumb_size'],
        len(view['pictures']['details']),
    )
    capsys.readouterr()
    assert report.main([*command, '--megabytes', '0.1']) == 1
    assert 'MB larger than --megabytes' in capsys.readouterr().err


def test_table_for_other_tools(run, tmp_path):
    out = tmp_path / 'report'
    view = open_view(run, 'val-600')
    ids = view.image_ids[[3, 5]].tolist()
    saved = tmp_path / 'views.json'
    saved.write_text(json.dumps({'views': [{'name': '<b>dark', 'ids': ids}]}))
    command = ['--workdir', str(run), '--output', str(out), '--parquet', '--views', str(saved)]
    assert report.main(command) == 0
    table = parquet.read_table(out / 'samples-val-600.parquet')
    assert np.flatnonzero(table['view: <b>dark'].to_numpy()).tolist() == [3, 5]
    assert table['image_id'].to_pylist() == view.image_ids.tolist()
    # The gate and training read it, too.
    assert selection.read_views(out / 'samples-val-600.parquet') == {'<b>dark': sorted(ids)}
    assert {'x', 'y', 'cluster', 'loss'} <= set(table.column_names)
    first = table['neighbors'][0].as_py()
    assert first['ids'] == artifacts.load(view, Similar).index[0].tolist()
    assert np.all(np.diff(first['distances']) >= 0)
    image = table['image'][41].as_py()
    assert image['path'] == table['file_name'][41].as_py()
    assert Image.open(io.BytesIO(image['bytes'])).size == (96, 96)


def test_numbers_are_stored_in_few_bytes_without_loss():
    for values, dtype in (
        ([0, 3, np.nan, 254], 'uint8'),
        ([0, 255, np.nan], 'uint16'),
        ([-1, 3], 'float32'),
        ([0.5, np.nan], 'float32'),
        ([70000, 1], 'float32'),
        ([np.nan, np.nan], 'uint8'),
    ):
        encoded = report_columns._number(np.array(values, np.float64))
        assert encoded['dtype'] == dtype
        np.testing.assert_array_equal(_decode(encoded), values)
    with pytest.raises(ValueError):
        view_data.to_script('x', {'value': float('nan')})


def test_single_file_in_a_browser(run, browser, tmp_path):
    """Its own scripts run, from the file alone, and nothing else is asked for."""
    out = tmp_path / 'report.html'
    assert report.main(['--workdir', str(run), '--output', str(out), '--single_file']) == 0
    page, said, asked = browser.new_page(), [], []
    page.on('console', lambda message: said.append(message.text))
    page.on('pageerror', lambda error: said.append(str(error)))
    page.on('request', lambda request: asked.append(request.url.partition(':')[0]))
    page.goto(out.as_uri())
    page.wait_for_selector('body[data-ready]')
    assert page.evaluate('Filters.passing()') == 80
    # A thumbnail is drawn from the file.
    size = page.evaluate("""async () => {
        const image = new Image();
        const path = State.view.pictures.sheets[0].image;
        image.src = Data.picture(State.view, path);
        await image.decode();
        return [image.width, State.view.pictures.thumb_size];
    }""")
    assert size[0] == 6 * size[1]
    page.close()
    assert said == []
    assert set(asked) <= {'file', 'data', 'blob'} and asked.count('file') == 1
