"""The review page's server: what it shows, what it saves, whom it refuses."""

import http.client
import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from hwhup_core.body.joints import COCO_17, SLP_14, SMPL_24
from hwhup_core.cli.main import main
from hwhup_core.data.recording import RecordingCard
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.labeling.label_lock import only_writer
from hwhup_core.labeling.labels import FrameLabel, LabelStore
from hwhup_core.labeling.review_server import LARGEST_BODY, PAGE, PAGE_FILES, review_server
from hwhup_core.labeling.review_skeleton import NEUTRAL, bones, template
from hwhup_core.types import Frame, Intrinsics, PersonBox

CAMERA = Intrinsics(50.0, 50.0, 20.0, 15.0, 40, 30)
CARD = RecordingCard('test', 'camera', CAMERA, color='png')
JOINTS = ('left_knee', 'right_knee', 'head_top')
COLOR = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def write_frames(folder: Path, count=3, card=CARD, metadata=None) -> None:
    depth = np.full((30, 40), 1.5, np.float32)
    depth[:, 20:] = 1.0
    color = COLOR if card.color != 'none' else None
    with RecordingWriter(folder, card) as writer:
        for i in range(count):
            writer.write(Frame(1 + i * 10**9, 'camera', color, depth, intrinsics=CAMERA), metadata or {})


def label(frame='000000', source='automatic', **changes) -> FrameLabel:
    pixels = np.array([[10.5, 20.25], [30.125, 4.0], [0.0, 0.0]])
    given = np.array([True, True, False])
    made = FrameLabel(frame, JOINTS, pixels, given, np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.75, 0.0]), source)
    return replace(made, **changes)


@pytest.fixture
def folder(tmp_path):
    write_frames(tmp_path / 'r')
    LabelStore(tmp_path / 'r').put(label())
    return tmp_path / 'r'


class Client:
    """A browser's requests, headers and all."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=20)
        given = {'Host': f'127.0.0.1:{self.port}', 'Origin': f'http://127.0.0.1:{self.port}', **headers}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            if value is not None:
                connection.putheader(name.replace('_', '-'), value)
        connection.endheaders(body)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply, content

    def get(self, path, **headers):
        reply, content = self.ask('GET', path, **headers)
        assert reply.status == 200, content
        return json.loads(content)

    def post(self, path, content, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        given = {'Content_Type': 'application/json', 'Content_Length': str(len(body)), **headers}
        reply, answer = self.ask('POST', path, body, **given)
        return reply.status, json.loads(answer)

    def label(self, i):
        return self.get(f'/api/frames/{i}')['label']

    def change(self, i, **changes):
        """Send the label of a frame with changes; `joints` is laid over those that are there."""
        now = self.label(i)
        joints = {joint['name']: {key: joint[key] for key in ('x', 'y', 'visible')}
                  for joint in now['joints'] if joint['labelled']}  # fmt: skip
        joints.update(changes.pop('joints', {}))
        content = {'joints': joints, **{key: now[key] for key in ('status', 'note', 'revision')}, **changes}
        return self.post(f'/api/frames/{i}', content)


@contextmanager
def serving(folder):
    with review_server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield Client(server.server_port)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def client(folder):
    with serving(folder) as made:
        yield made


def test_overview_and_frame(client):
    overview = client.get('/api/recording')
    assert [frame['status'] for frame in overview['frames']] == ['unreviewed', 'none', 'none']
    assert (overview['order'], overview['ranked']) == ([0, 1, 2], False)
    frame = client.get('/api/frames/0')
    assert (frame['unit'], frame['size'], frame['pictures']) == ('000000', [40, 30], ['color', 'depth'])
    assert frame['label']['joints'][1] == {
        'name': 'right_knee', 'labelled': True, 'doubtful': True, 'x': 30.125, 'y': 4.0, 'visible': False,
    }  # fmt: skip
    assert not frame['label']['joints'][2]['labelled']


def test_frames_come_in_the_order_of_the_ranking(folder):
    ranking = {'frames': [{'frame': '000002'}, {'frame': 'gone'}, {'frame': '000000'}, {'frame': '000002'}]}
    (folder / 'labels' / 'ranking.json').write_text(json.dumps(ranking))
    with serving(folder) as client:
        overview = client.get('/api/recording')
    assert (overview['order'], overview['ranked']) == ([2, 0, 1], True)


def test_pictures_are_the_stored_ones(client):
    reply, content = client.ask('GET', '/api/frames/1/color')
    assert reply.headers['Content-Type'] == 'image/png'
    seen = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(seen, COLOR)
    content = client.ask('GET', '/api/frames/1/depth')[1]
    near, far = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[5, [30, 5]].astype(int)
    assert near[2] > near[0], 'near is warm: more red than blue'
    assert far[0] > far[2]


def test_a_moved_joint_is_on_the_disk_when_the_answer_comes(client, folder):
    status, frame = client.change(0, joints={'left_knee': {'x': 12.25, 'y': 21.5, 'visible': True}})
    assert status == 200
    assert [joint['doubtful'] for joint in frame['label']['joints']] == [False, True, False]
    found = LabelStore(folder).all()['000000']
    assert found['automatic'].pixels[0].tolist() == [10.5, 20.25]
    manual = found['manual']
    assert (manual.joints, manual.status, manual.mask) == (JOINTS, 'unreviewed', '')
    np.testing.assert_array_equal(manual.pixels, [[12.25, 21.5], [30.125, 4.0], [0, 0]])
    np.testing.assert_array_equal(manual.confidence, [1.0, 0.75, 0.0])
    np.testing.assert_array_equal(manual.visible, [1, 0, 0])
    assert client.get('/api/recording')['frames'][0]['status'] == 'unreviewed'


def test_accepted_joints_are_certain_and_undone_ones_are_not(client, folder):
    assert client.change(0, status='accepted')[0] == 200
    np.testing.assert_array_equal(LabelStore(folder).current()['000000'].confidence, [1.0, 1.0, 0.0])
    assert client.change(0, status='unreviewed')[0] == 200
    np.testing.assert_array_equal(LabelStore(folder).current()['000000'].confidence, [0.5, 0.75, 0.0])


def test_a_rejected_frame_keeps_joints_mask_and_note(folder):
    LabelStore(folder).put(label('000001', mask='masks/000001.png'))
    with serving(folder) as client:
        status, frame = client.change(1, status='rejected', note='arm of a parent')
    assert (status, frame['frame_status']) == (200, 'rejected')
    found = LabelStore(folder).current()['000001']
    assert (found.source, found.status, found.note) == ('manual', 'rejected', 'arm of a parent')
    assert found.mask == 'masks/000001.png'
    assert found.labelled.tolist() == [True, True, False]


def test_joints_that_are_not_sent_have_no_label(client, folder):
    now = client.label(0)
    content = {'joints': {'head_top': {'x': 3, 'y': 4, 'visible': False}}, 'status': 'unreviewed', 'note': ''}
    assert client.post('/api/frames/0', {**content, 'revision': now['revision']})[0] == 200
    found = LabelStore(folder).current()['000000']
    assert found.labelled.tolist() == [False, False, True]
    assert found.pixels.tolist() == [[0, 0], [0, 0], [3, 4]]


def test_a_stale_page_is_refused_and_a_repeated_request_is_not(client, folder):
    stale = client.label(0)['revision']
    changed = {'left_knee': {'x': 1.0, 'y': 2.0, 'visible': True}}
    assert client.change(0, joints=changed)[0] == 200
    size = (folder / 'labels' / 'labels.jsonl').stat().st_size
    status, answer = client.change(0, revision=stale, joints={'left_knee': {'x': 9.0, 'y': 9.0, 'visible': True}})
    assert status == 409
    assert 'elsewhere' in answer['error']
    # The answer to the first one got lost on the way: the same again is no conflict.
    assert client.change(0, revision=stale, joints=changed)[0] == 200
    assert (folder / 'labels' / 'labels.jsonl').stat().st_size == size


def test_labels_that_another_program_wrote_are_seen_and_kept(client, folder):
    assert client.change(0, status='accepted')[0] == 200
    LabelStore(folder).put(label('000001', 'imported'))
    assert client.label(1)['source'] == 'imported'
    assert client.change(2, status='rejected')[0] == 200
    assert sorted(LabelStore(folder).current()) == ['000000', '000001', '000002']


GOOD = {
    'joints': {'left_knee': {'x': 1.0, 'y': 2.0, 'visible': True}},
    'status': 'accepted',
    'note': '',
    'revision': '',
}


def with_knee(**changes):
    return {**GOOD, 'joints': {'left_knee': {'x': 1.0, 'y': 2.0, 'visible': True, **changes}}}


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'{"joints": {"left_knee": {"x": NaN, "y": 1, "visible": true}}}', 'NaN'),
        (b'{"joints"', 'JSON'),
        (b'[' * 30000, 'JSON'),
        (b'\xff\xfe', 'JSON'),
        ([], 'Expected joints'),
        ({**GOOD, 'more': 1}, 'Expected joints'),
        ({**GOOD, 'status': 'perfect'}, 'perfect'),
        ({**GOOD, 'status': ['accepted']}, 'none of'),
        ({**GOOD, 'note': 'x' * 501}, 'note'),
        ({**GOOD, 'revision': 3}, 'revision'),
        ({**GOOD, 'joints': []}, 'joints'),
        ({**GOOD, 'joints': {'tail': {'x': 1, 'y': 1, 'visible': True}}}, 'tail'),
        (with_knee(x='1'), 'numbers'),
        (with_knee(x=True), 'numbers'),
        (with_knee(y=10**400), 'numbers'),
        (with_knee(x=1e5), 'far outside'),
        (with_knee(visible=1), 'visible'),
        (with_knee(z=1), 'visible'),
    ],
)
def test_bad_labels_are_refused_with_a_sentence(client, folder, content, words):
    before = (folder / 'labels' / 'labels.jsonl').read_bytes()
    status, answer = client.post('/api/frames/0', content)
    assert status == 400
    assert words in answer['error']
    assert (folder / 'labels' / 'labels.jsonl').read_bytes() == before


def test_what_is_too_long_or_has_no_length_is_not_read(client):
    assert client.post('/api/frames/0', b'', Content_Length=str(LARGEST_BODY + 1))[0] == 400
    assert client.post('/api/frames/0', b'', Content_Length='-1')[0] == 400
    assert client.post('/api/frames/0', b'', Content_Length=None)[0] == 400
    assert client.post('/api/frames/0', GOOD, Content_Type='text/plain')[0] == 400


@pytest.mark.parametrize('path', ['/api/frames/3', '/api/frames/999999999', '/api/frames/0/pressure'])
def test_unknown_frames_and_pictures(client, path):
    reply, content = client.ask('GET', path)
    assert reply.status == 400
    assert json.loads(content)['error']


@pytest.mark.parametrize(
    'path',
    [
        '/../recording.yaml', '/api/frames/0/../../recording.yaml', '/%2e%2e/recording.yaml', '/recording.yaml',
        '/review_page/review.js', '/api/frames/-1', '/api/frames/0/color/', '/api/frames/٣', '//etc/passwd',
        '/api/frames/1234567890',
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(client, path):
    request = path.encode().decode('latin-1')
    connection = http.client.HTTPConnection('127.0.0.1', client.port, timeout=20)
    connection._validate_path = lambda url: None
    connection._encode_request = lambda text: text.encode('latin-1')
    connection.request('GET', request)
    assert connection.getresponse().status == 404
    connection.close()


def test_a_mask_is_read_from_the_labels_only(folder):
    outside = folder / 'secret.png'
    cv2.imwrite(str(outside), np.full((30, 40), 255, np.uint8))
    (folder / 'labels' / 'masks').mkdir()
    mask = np.zeros((30, 40), np.uint8)
    mask[3, 4] = 255
    cv2.imwrite(str(folder / 'labels' / 'masks' / 'a.png'), mask)
    store = LabelStore(folder)
    store.put(label('000000', mask='masks/a.png'))
    store.put(label('000001', mask='../secret.png'))
    store.put(label('000002', mask=str(outside)))
    with serving(folder) as client:
        content = client.ask('GET', '/api/frames/0/mask')[1]
        seen = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert client.ask('GET', '/api/frames/1/mask')[0].status == 404
        assert client.ask('GET', '/api/frames/2/mask')[0].status == 404
    np.testing.assert_array_equal(seen[..., 3] > 0, mask > 0)


def test_other_sites_get_nothing(client):
    port = client.port
    own = f'http://127.0.0.1:{port}'
    assert client.ask('GET', '/', Host='evil.example')[0].status == 403
    assert client.ask('GET', '/api/recording', Host=f'evil.example:{port}', Origin=None)[0].status == 403
    assert client.ask('GET', '/api/recording', Host=None)[0].status == 403
    assert client.ask('GET', '/api/frames/0/color', Origin=None, Sec_Fetch_Site='cross-site')[0].status == 403
    assert client.ask('GET', '/api/recording', Origin=f'http://localhost:{port + 1}')[0].status == 403
    for origin in (None, 'null', 'http://evil.example', own + '0', own.replace('http', 'https')):
        assert client.post('/api/frames/0', GOOD, Origin=origin)[0] == 403
    assert client.ask('OPTIONS', '/api/frames/0')[0].status == 501
    # A link from elsewhere may open the page; it asks for the rest itself. So may a tunnel with another port.
    assert client.ask('GET', '/', Origin=None, Sec_Fetch_Site='cross-site')[0].status == 200
    assert client.ask('GET', '/api/recording', Host='localhost:9', Origin='http://localhost:9')[0].status == 200


def test_everything_the_page_is_made_of_is_there_and_allows_nothing_else(client):
    for path, (_, media) in PAGE_FILES.items():
        reply, content = client.ask('GET', path)
        assert (reply.status, reply.headers['Content-Type']) == (200, media)
        assert b'https:' not in content
        assert reply.headers['Content-Security-Policy'].startswith("default-src 'none'")
        assert reply.headers['Cache-Control'] == 'no-store'
        assert 'Access-Control-Allow-Origin' not in reply.headers
    assert {name for name, _ in PAGE_FILES.values()} == {path.name for path in PAGE.iterdir()}


def test_the_page_is_installed_with_the_package():
    setup = (Path(__file__).resolve().parents[2] / 'setup.py').read_text(encoding='utf-8')
    assert "'hwhup_core.labeling': ['review_page/*']" in setup


def test_only_one_program_writes_labels(client, folder, tmp_path, capsys):
    with pytest.raises(ConfigError, match='review page'), review_server(folder):
        pass
    with pytest.raises(ConfigError, match='Stop it'), only_writer(folder):
        pass
    assert main(['label', 'export', str(folder), str(tmp_path / 'out'), '--format', 'cvat']) == 0
    before = (folder / 'labels' / 'labels.jsonl').read_bytes()
    package = next((tmp_path / 'out').rglob('*.xml'))
    assert main(['label', 'import', str(folder), str(package)]) == 2
    assert 'review page' in capsys.readouterr().err
    assert (folder / 'labels' / 'labels.jsonl').read_bytes() == before


def test_the_lock_is_free_when_the_page_is_closed(folder):
    with serving(folder):
        pass
    with serving(folder) as client:
        assert client.get('/api/recording')['name'] == 'r'


def test_a_taken_port_and_an_empty_recording_are_refused(folder, tmp_path):
    write_frames(tmp_path / 'empty', count=0)
    with pytest.raises(AssetError, match='no frames'), review_server(tmp_path / 'empty'):
        pass
    write_frames(tmp_path / 'other', count=1)
    with serving(folder) as client:
        taken = client.port
        with pytest.raises(ConfigError, match='--port'), review_server(tmp_path / 'other', taken):
            pass


def test_a_full_disk_is_an_error_that_the_page_tries_again(client, monkeypatch):
    def full(self, label):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(LabelStore, 'put', full)
        status, answer = client.change(0, status='accepted')
    assert status == 500
    assert 'No space left' in answer['error']
    assert client.change(0, status='accepted')[0] == 200


def test_a_recording_without_colour_or_labels(tmp_path):
    card = replace(CARD, color='none', privacy='no_color')
    box = {'estimate': {'state': 'ESTIMATED', 'box': [20.0, 15.0, 18.0, 0.0]}}
    write_frames(tmp_path / 'r', 1, card, box)
    with serving(tmp_path / 'r') as client:
        frame = client.get('/api/frames/0')
        assert frame['pictures'] == ['depth']
        assert [joint['name'] for joint in frame['label']['joints']] == list(SLP_14)
        assert frame['template']['thorax'] == [20.0, 15.0 - 5.4]
        joints = {name: {'x': x, 'y': y, 'visible': True} for name, (x, y) in frame['template'].items()}
        assert client.change(0, joints=joints)[0] == 200
    assert LabelStore(tmp_path / 'r').usable()['000000'].labelled.all()


def test_template_follows_a_turned_box():
    # Turned by a quarter from x to y the head is up, so in the image it lies to the left: up = (-1, 0).
    placed = template(('head_top', 'left_hip'), PersonBox(50.0, 50.0, 18.0, np.pi / 2), 100, 100)
    assert placed['head_top'] == pytest.approx((50.0 - 8.0, 50.0), abs=0.01)
    assert placed['left_hip'] == pytest.approx((50.0 + 0.2, 50.0 - 1.1), abs=0.01)


@pytest.mark.parametrize('joints', [SLP_14, COCO_17, SMPL_24])
def test_every_joint_has_a_place_and_a_bone(joints):
    assert set(joints) <= set(NEUTRAL)
    pairs = bones(joints)
    assert {name for pair in pairs for name in pair} == set(joints)
    placed = template(joints, PersonBox(0.0, 0.0, 500.0), 40, 30)
    assert all(0 <= x <= 40 and 0 <= y <= 30 for x, y in placed.values())
