"""Labels to COCO, CVAT and Label Studio and back: no flag gets lost, and files without flags are refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from hwhup_core.body.joints import COCO_17, SLP_14
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.labeling.exchange import PersonLabel, Point, frame_of, import_people, to_person, write_package
from hwhup_core.labeling.formats import FORMATS, format_of, label_format
from hwhup_core.labeling.labels import FrameLabel, LabelStore

SIZE = (64, 48)


def label(frame: str, seed: int, joints=SLP_14) -> FrameLabel:
    rng = np.random.default_rng(seed)
    labelled = rng.random(len(joints)) < 0.8
    return FrameLabel(
        frame=frame,
        joints=joints,
        pixels=np.where(labelled[:, None], np.round(rng.uniform(1, 47, (len(joints), 2)), 3), 0),
        labelled=labelled,
        visible=np.where(labelled, rng.integers(0, 2, len(joints)), 0).astype(float),
        confidence=labelled.astype(float),
        source='automatic',
    )


def joints_of(label: FrameLabel) -> dict[str, tuple[float, float, float]]:
    rows = zip(label.joints, label.pixels, label.visible, label.labelled)
    return {name: (round(float(x), 2), round(float(y), 2), float(seen)) for name, (x, y), seen, known in rows if known}


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize('joints', [SLP_14, COCO_17], ids=['slp', 'coco'])
def test_nothing_is_lost_on_the_way(tmp_path: Path, name: str, joints: tuple[str, ...]):
    form, labels = label_format(name), [label(f'{number:06d}', number, joints) for number in range(1, 6)]
    people = [to_person(each, f'{each.frame}.png', SIZE) for each in labels]
    picture = np.full((48, 64, 3), (200, 100, 0), np.uint8)
    write_package(tmp_path, people, lambda _: picture, form)
    assert sorted(path.name for path in (tmp_path / 'images').iterdir()) == [f'{n:06d}.png' for n in range(1, 6)]
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'images' / '000001.png'))[0, 0], (0, 100, 200))

    file = next(
        path for path in tmp_path.iterdir() if path.suffix in ('.json', '.xml') and format_or_none(path) == name
    )
    store = LabelStore(tmp_path / 'recording')
    report = import_people(store, form.read(file, False), {each.frame: SIZE for each in labels})
    assert report.imported == 5
    assert report.occluded == sum(int((each.visible[each.labelled] == 0).sum()) for each in labels) > 0
    for before in labels:
        after = store.current()[before.frame]
        assert joints_of(after) == joints_of(before)
        assert (after.source, after.status) == ('imported', 'accepted')


def format_or_none(path: Path) -> str | None:
    names = {'person_keypoints.json': 'coco', 'annotations.xml': 'cvat', 'tasks.json': 'label-studio'}
    return format_of(path).name if path.name in names and format_of(path).name == names[path.name] else None


def person(picture='000001.png', size=SIZE, **points: Point) -> PersonLabel:
    return PersonLabel(picture, *size, points or {'left_knee': Point(10, 20, True)})


def test_coco_counts_the_first_pixel_centre_as_0(tmp_path: Path):
    label_format('coco').write(tmp_path, [person(left_knee=Point(0.5, 10.5, False))])
    content = json.loads((tmp_path / 'person_keypoints.json').read_text())
    names = content['categories'][0]['keypoints']
    start = 3 * names.index('left_knee')
    assert content['annotations'][0]['keypoints'][start : start + 3] == [0.0, 10.0, 1]


@pytest.mark.parametrize('name', FORMATS)
def test_files_that_lost_the_flags_are_refused(tmp_path: Path, name: str):
    form = label_format(name)
    form.write(tmp_path, [person(f'{number:06d}.png') for number in range(20)])
    file = tmp_path / {'coco': 'person_keypoints.json', 'cvat': 'annotations.xml', 'label-studio': 'tasks.json'}[name]
    with pytest.raises(AssetError, match=r'does not say which joints the camera sees.*20 people'):
        form.read(file, False)
    assert len(form.read(file, True)) == 20


def coco_file(folder: Path, keypoints: list, names=('left_knee',)) -> Path:
    file = folder / 'labels.json'
    content = {
        'images': [{'id': 7, 'file_name': '000001.png', 'width': 64, 'height': 48}],
        'categories': [{'id': 1, 'name': 'person', 'keypoints': list(names)}],
        'annotations': [{'id': 3, 'image_id': 7, 'category_id': 1, 'keypoints': keypoints}],
    }
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize(
    ('keypoints', 'expected'),
    [([1, 2], 'two numbers a joint'), ([1, 2, 3], 'v is 3'), ([1, 2, 2, 5], 'expected 3'), ([1], 'has 1 numbers')],
)
def test_coco_without_or_with_wrong_flags(tmp_path: Path, keypoints: list, expected: str):
    with pytest.raises(AssetError, match=expected):
        label_format('coco').read(coco_file(tmp_path, keypoints), False)


def test_coco_pairs_are_read_when_all_is_seen(tmp_path: Path):
    (found,) = label_format('coco').read(coco_file(tmp_path, [1, 2]), True)
    assert found.points == {'left_knee': Point(1.5, 2.5, True)}


CVAT_IMAGE = '<annotations><image id="0" name="a/000001.png" width="64" height="48">{}</image></annotations>'


@pytest.mark.parametrize(
    ('inside', 'expected'),
    [
        ('<points label="left_knee" points="1,2"/>', 'no attribute `occluded`'),
        ('<points label="left_knee" occluded="0" points="1,2;3,4"/>', 'expected one x,y'),
        (2 * '<points label="left_knee" occluded="0" points="1,2"/>', 'labelled twice'),
    ],
)
def test_cvat_is_checked(tmp_path: Path, inside: str, expected: str):
    file = tmp_path / 'x.xml'
    file.write_text(CVAT_IMAGE.format(inside))
    with pytest.raises(AssetError, match=expected):
        label_format('cvat').read(file, False)


def test_cvat_reads_plain_points_and_leaves_out_those_outside(tmp_path: Path):
    file = tmp_path / 'x.xml'
    inside = '<points label="left_knee" occluded="1" points="1.5,2"/><points label="nose" outside="1" points="0,0"/>'
    file.write_text(CVAT_IMAGE.format(inside))
    (found,) = label_format('cvat').read(file, False)
    assert found.points == {'left_knee': Point(1.5, 2.0, False)}


def test_entities_are_refused(tmp_path: Path):
    file = tmp_path / 'x.xml'
    file.write_text('<!DOCTYPE a [<!ENTITY b "b">]>' + CVAT_IMAGE.format(''))
    with pytest.raises(AssetError, match='entities'):
        label_format('cvat').read(file, False)


def test_label_studio_needs_a_choice_for_every_joint(tmp_path: Path):
    label_format('label-studio').write(tmp_path, [person()])
    tasks = json.loads((tmp_path / 'tasks.json').read_text())
    tasks[0]['annotations'][0]['result'] = tasks[0]['annotations'][0]['result'][:1]
    (tmp_path / 'tasks.json').write_text(json.dumps(tasks))
    with pytest.raises(AssetError, match='left_knee of task 1 is None, expected seen or occluded'):
        label_format('label-studio').read(tmp_path / 'tasks.json', False)


@pytest.mark.parametrize('name', FORMATS)
def test_files_of_something_else_are_named(tmp_path: Path, name: str):
    file = tmp_path / 'labels.txt'
    file.write_text('{"half": ')
    with pytest.raises(AssetError, match=r'labels\.txt'):
        label_format(name).read(file, False)


def test_an_unknown_format_is_named():
    with pytest.raises(ConfigError, match='coco, cvat, label-studio'):
        label_format('voc')


def test_frames_are_found_behind_folders_and_uploads():
    frames = {'000001', '000002'}
    names = (
        '000001.png',
        'images/000001.jpg',
        '/data/local-files/?d=images/000002.png',
        'upload/3/a1b2c3d4-000002.png',
    )
    assert [frame_of(name, frames) for name in names] == ['000001', '000001', '000002', '000002']
    with pytest.raises(AssetError, match='no picture of this recording'):
        frame_of('000003.png', frames)


@pytest.mark.parametrize(
    ('bad', 'expected'),
    [
        (person('000009.png'), 'no picture of this recording'),
        (person(size=(48, 64)), 'swapped'),
        (person('000002.png', left_knee=Point(65, 2, True)), 'left_knee lie outside'),
        (PersonLabel('000002.png', *SIZE, {}), 'no labelled joint'),
    ],
)
def test_what_does_not_fit_is_refused_or_left_out(tmp_path: Path, bad: PersonLabel, expected: str):
    good, sizes = person('000001.png'), {'000001': SIZE, '000002': SIZE}
    with pytest.raises(AssetError, match=expected):
        import_people(LabelStore(tmp_path), [good, bad], sizes)
    assert not LabelStore(tmp_path).all()
    report = import_people(LabelStore(tmp_path), [good, bad], sizes, skip_bad=True)
    assert (report.imported, sum(report.left_out.values())) == (1, 1)


def test_two_people_in_one_picture_are_refused(tmp_path: Path):
    with pytest.raises(AssetError, match='two people'):
        import_people(LabelStore(tmp_path), [person(), person()], {'000001': SIZE})
