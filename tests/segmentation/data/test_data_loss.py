from segmentation.data import coco
from tests import coco_fixtures


def test_a_category_that_loses_most_of_its_masks_is_noted(tmp_path):
    document = coco_fixtures.document(12)
    first = document['annotations'][0]['category_id']
    mine = [entry for entry in document['annotations'] if entry['category_id'] == first]
    for entry in mine[1:]:
        del entry['segmentation']
    assert 2 < len(mine) < len(document['annotations']) / 2
    folder = coco_fixtures.write_folder(tmp_path / 'own', {'train': document})
    notes = coco.prepare(str(folder), tmp_path / 'data').notes['train']
    entry = notes['category keeps less than half of its annotations']
    (name,) = [c['name'] for c in document['categories'] if c['id'] == first]
    assert entry['count'] == 1 and entry['examples'] == [repr(name)]
    assert f'1 of {len(mine)}' in entry['values'][0]
