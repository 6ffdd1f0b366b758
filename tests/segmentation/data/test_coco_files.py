"""How image files are found by the names that tools write, and never outside of their folder."""

import pytest

from segmentation.data import coco_files


@pytest.fixture
def root(tmp_path):
    names = ('a.jpg', 'sub/B.JPG', 'one/same.png', 'two/same.png', 'my photo.jpg', 'notes.txt')
    for name in names:
        path = tmp_path / 'set' / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / 'outside.jpg').write_text('secret')
    (tmp_path / 'set' / 'images' / 'link').symlink_to(tmp_path)
    return tmp_path / 'set'


@pytest.mark.parametrize(
    ('name', 'found', 'is_repaired'),
    [
        ('a.jpg', 'a.jpg', False),
        ('./a.jpg', 'a.jpg', False),
        ('images/a.jpg', 'a.jpg', False),
        ('sub/B.JPG', 'sub/B.JPG', False),
        ('sub\\B.JPG', 'sub/B.JPG', True),
        ('D:\\data\\images\\a.jpg', 'a.jpg', True),
        ('/home/me/images/sub/B.JPG', 'sub/B.JPG', True),
        ('https://host/x/my%20photo.jpg?w=3', 'my photo.jpg', True),
        ('s3://bucket/images/a.jpg', 'a.jpg', True),
        ('/data/local-files/?d=shots/a.jpg', 'a.jpg', True),
        ('b.jpg', 'sub/B.JPG', True),
        ('a', 'a.jpg', True),
        ('a.png', 'a.jpg', True),
        ('two/same.png', 'two/same.png', False),
    ],
)
def test_names_as_tools_write_them(root, name, found, is_repaired):
    source = coco_files.FolderSource(root, [root / 'images'])
    file = source.find([name])[name]
    assert (file.name, file.reason, file.is_repaired) == (found, '', is_repaired)
    assert source.read(file.name).decode() == found


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('same.png', 'missing file'),  # two have this name
        ('three/same.png', 'missing file'),
        ('other.jpg', 'missing file'),
        ('notes', 'missing file'),
        ('../outside.jpg', 'unsafe or missing file name'),
        ('images/../../outside.jpg', 'unsafe or missing file name'),
        ('/', 'unsafe or missing file name'),
        ('C:', 'unsafe or missing file name'),
    ],
)
def test_names_that_lead_nowhere(root, name, reason):
    source = coco_files.FolderSource(root, [root / 'images'])
    assert source.find([name])[name].reason == reason


def test_links_out_are_found_but_not_read(root):
    source = coco_files.FolderSource(root, [root / 'images'])
    file = source.find(['link/outside.jpg'])['link/outside.jpg']
    with pytest.raises(coco_files.UnusableImage, match='link out of the image folder'):
        source.read(file.name)


def test_addresses_of_several_hosts_are_not_one_file(root):
    source = coco_files.FolderSource(root, [root / 'images'])
    given = ['http://a/a.jpg', 'http://b/a.jpg', 'C:\\a.jpg', 'a.jpg', './a.jpg']
    files = source.find(given)
    reason = 'several file names lead to the same file'
    assert [files[name].reason for name in given] == [reason] * 3 + [''] * 2


def test_two_names_must_not_be_guessed_to_be_one_file(root):
    source = coco_files.FolderSource(root, [root / 'images'])
    files = source.find(['/x/1/a.jpg', '/x/2/a.jpg', 'a.jpg'])
    assert files['a.jpg'].reason == ''
    reason = 'several file names lead to the same file'
    assert [files[f'/x/{i}/a.jpg'].reason for i in (1, 2)] == [reason] * 2
