"""The review page in a real browser: what a person does with mouse and keys is on the disk, and there after reload."""

import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from hwhup_core.body.joints import SLP_14, SMPL_24, index
from hwhup_core.data.recording import RecordingCard
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.labeling.labels import FrameLabel, LabelStore
from hwhup_core.labeling.review_server import review_server
from hwhup_core.synthetic.stream import CribStream, StreamConfig

# pytest's import mode leaves sys.path alone.
sys.path.insert(0, str(Path(__file__).parents[1]))

from browser import CHROMIUM, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed')

BEHIND = [index({'thorax': 'neck', 'head_top': 'head'}.get(name, name), SMPL_24) for name in SLP_14]
KNEE = SLP_14.index('left_knee')
COUNT = 3


@pytest.fixture(scope='module')
def crib():
    """Return camera, frames and truths of a crib."""
    stream = CribStream(StreamConfig(width=320, height=240, focal_px=280.0), seed=3)
    return stream.intrinsics, [stream.frame(10**18 + i * 10**9, 1.7 * i) for i in range(COUNT)]


@pytest.fixture
def folder(crib, tmp_path):
    """Return a recording whose first two frames have automatic labels: the truth."""
    camera, frames = crib
    card = RecordingCard('crib', frames[0][0].frame_id, camera, color='png')
    with RecordingWriter(tmp_path / 'crib', card) as writer:
        units = [writer.write(frame, {}).unit for frame, _ in frames]
    store = LabelStore(tmp_path / 'crib')
    for unit, (_, truth) in list(zip(units, frames))[:2]:
        seen = truth.visibility[BEHIND].astype(float)
        given, likely = np.ones(14, bool), np.full(14, 0.75)
        store.put(FrameLabel(unit, SLP_14, truth.pixels[BEHIND], given, seen, likely, 'automatic'))
    return tmp_path / 'crib'


@contextmanager
def serving(folder, port=0):
    with review_server(folder, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def tab(tmp_path):
    with browser(tmp_path / 'profile') as opened:
        yield opened
        assert opened.complaints == []


def show(tab, url, frame=0):
    """Load the page anew and wait for a frame."""
    tab.open(f'{url}#{frame}')
    tab.wait(f'document.body?.dataset.frame === "{frame}"')


def place_of(tab, joint, pane=0):
    """Return where a joint is in the window."""
    circle = f'document.querySelectorAll("figure")[{pane}].querySelector("[data-joint={joint}] .dot")'
    box = tab.value(f'(({{x, y, width, height}}) => [x, y, width, height])({circle}.getBoundingClientRect())')
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def pixels_to_window(tab, pane=0):
    """Return how many pixels of the window a pixel of the image is wide."""
    return tab.value(f'document.querySelectorAll("figure > svg")[{pane}].getScreenCTM().a')


def listed(tab, joint):
    return tab.value(f'({{...document.querySelector("#joints [data-joint={joint}]").dataset}})')


def saved(tab):
    tab.wait('document.getElementById("saved").textContent === "saved"')


def count(tab, status):
    return int(tab.value(f'document.querySelector("[data-count={status}]").textContent').split()[0])


def select(tab, joint):
    """Go to a joint by keys."""
    for _ in SLP_14:
        tab.key('n')
        if tab.value('document.querySelector("#joints .chosen")?.dataset.joint') == joint:
            return
    raise AssertionError(f'{joint} cannot be reached')


@pytest.mark.timeout(200)
def test_what_a_person_does_is_on_the_disk_after_reload(tab, folder, tmp_path):
    before = LabelStore(folder).current()['000000']
    with serving(folder) as server:
        show(tab, server.url)
        scale = pixels_to_window(tab)
        x, y = place_of(tab, 'left_knee')
        tab.drag((x, y), (x + 20 * scale, y - 12 * scale))
        saved(tab)
        select(tab, 'right_ankle')
        tab.key('v')
        saved(tab)
        tab.key('ArrowRight')
        tab.wait('document.body.dataset.frame === "1"')
        tab.key('r')
        saved(tab)
        moved = LabelStore(folder).current()['000000']

        show(tab, server.url, 0)
        knee, ankle = listed(tab, 'left_knee'), listed(tab, 'right_ankle')
        assert listed(tab, 'left_wrist')['doubtful'] == 'true', 'what nobody touched stays doubtful'
        (tmp_path / 'page.png').write_bytes(tab.screenshot())
        show(tab, server.url, 1)
        assert tab.value('document.body.dataset.status') == 'rejected'
        assert (count(tab, 'rejected'), count(tab, 'unreviewed'), count(tab, 'none')) == (1, 1, 1)
    wanted = before.pixels[KNEE] + (20, -12)
    np.testing.assert_allclose(moved.pixels[KNEE], wanted, atol=0.5)
    np.testing.assert_allclose((float(knee['x']), float(knee['y'])), moved.pixels[KNEE], atol=0.01)
    others = np.arange(14) != KNEE
    np.testing.assert_allclose(moved.pixels[others], before.pixels[others], atol=0.01)
    assert moved.source == 'manual'
    assert moved.visible[0] == 1 - before.visible[0]
    assert ankle['state'] == ('seen' if moved.visible[0] else 'hidden')
    assert LabelStore(folder).current()['000001'].status == 'rejected'
    assert list(LabelStore(folder).usable()) == ['000000']
    assert [url for url in tab.requested if not url.startswith((server.url, 'about:'))] == []


@pytest.mark.timeout(200)
def test_the_pictures_and_joints_are_seen(tab, folder):
    with serving(folder) as server:
        show(tab, server.url)
        tab.wait('[...document.querySelectorAll("image")].length === 2')
        tab.value('Promise.all([...document.querySelectorAll("image")].map((each) => each.decode()))')
        tab.value('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))')
        x, y = map(round, place_of(tab, 'left_knee'))
        before = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        tab.key('a')
        saved(tab)
        after = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    # Grey as long as nobody looked at it, then in the colour of the left side: filled, or a ring where it is occluded.
    around = np.s_[y - 8 : y + 9, x - 8 : x + 9]
    assert (np.ptp(before[around].astype(int), axis=2) < 12).any()
    orange = (after.astype(int) - (40, 140, 255)).__abs__().max(axis=2) < 12
    assert orange[around].any()
    right_half = before[:, before.shape[1] // 2 :]
    assert len(np.unique(right_half.reshape(-1, 3), axis=0)) > 200, 'the depth in colours'


@pytest.mark.timeout(200)
def test_undo_delete_place_and_template(tab, folder):
    with serving(folder) as server:
        show(tab, server.url)
        select(tab, 'head_top')
        tab.key('Delete')
        saved(tab)
        assert not LabelStore(folder).current()['000000'].labelled[13]
        tab.click(*place_of(tab, 'left_knee'))
        select(tab, 'head_top')
        x, y = place_of(tab, 'thorax')
        tab.click(x, y - 60)
        saved(tab)
        assert listed(tab, 'head_top')['state'] == 'seen'
        tab.key('ArrowRight')
        tab.wait('document.body.dataset.frame === "1"')
        tab.key('u')
        tab.wait('document.body.dataset.frame === "0"')
        tab.wait('document.querySelector("#joints [data-joint=head_top]").dataset.state === "missing"')
        tab.key('u')
        saved(tab)
        found = LabelStore(folder).all()['000000']
        np.testing.assert_allclose(found['manual'].pixels, found['automatic'].pixels, atol=0.01)
        np.testing.assert_array_equal(found['manual'].confidence, found['automatic'].confidence)

        show(tab, server.url, 2)
        assert tab.value('document.getElementById("message").textContent') == 'no joints are labelled here'
        tab.key('t')
        tab.key(' ')
        saved(tab)
    template = LabelStore(folder).current()['000002']
    assert template.status == 'accepted'
    assert template.labelled.all()


@pytest.mark.timeout(200)
def test_dragging_is_exact_when_zoomed_in(tab, folder):
    before = LabelStore(folder).current()['000000'].pixels[KNEE]
    with serving(folder) as server:
        show(tab, server.url)
        near = pixels_to_window(tab, 1)
        x, y = place_of(tab, 'left_knee', pane=1)
        tab.wheel(x, y, -800)
        tab.wait(f'document.querySelectorAll("figure > svg")[1].getScreenCTM().a > {2 * near}')
        zoomed = place_of(tab, 'left_knee', pane=1)  # The browser rounds where the wheel is turned to whole pixels.
        assert zoomed == pytest.approx((x, y), abs=4), 'the zoom is about the mouse'
        (x, y), scale = zoomed, pixels_to_window(tab, 1)
        tab.drag((x, y), (x + 4 * scale, y + 2 * scale))
        saved(tab)
        tab.key('ArrowUp', shift=True)
        saved(tab)
    after = LabelStore(folder).current()['000000'].pixels[KNEE]
    np.testing.assert_allclose(after - before, (4, 1), atol=0.1)


@pytest.mark.timeout(200)
def test_a_save_that_fails_is_shown_and_made_good(tab, folder, monkeypatch):
    put = LabelStore.put
    broken = threading.Event()
    broken.set()

    def sometimes(store, label):
        if broken.is_set():
            raise OSError(28, 'No space left on device')
        put(store, label)

    monkeypatch.setattr(LabelStore, 'put', sometimes)
    with serving(folder) as server:
        show(tab, server.url)
        tab.key('r')
        tab.wait('document.getElementById("saved").className === "bad"')
        assert 'No space left' in tab.value('document.getElementById("alarm").textContent')
        tab.key('ArrowRight')
        tab.wait('document.body.dataset.frame === "1"')
        tab.key('a')
        tab.key('ArrowLeft')
        tab.wait('document.body.dataset.frame === "0"')
        assert tab.value('document.body.dataset.status') == 'rejected', 'what is not saved yet stays on the page'
        broken.clear()
        saved(tab)
        assert tab.value('document.getElementById("alarm").hidden')
    assert {frame: each.status for frame, each in LabelStore(folder).current().items()} == {
        '000000': 'rejected', '000001': 'accepted',
    }  # fmt: skip
    tab.complaints.clear()  # The browser itself complains about each answer 500.


@pytest.mark.timeout(200)
def test_a_frame_that_was_changed_elsewhere_is_shown_as_it_is(tab, folder):
    with serving(folder) as server:
        show(tab, server.url)
        elsewhere = LabelStore(folder)
        elsewhere.put(replace(elsewhere.current()['000000'], source='manual', status='accepted', note='by another'))
        tab.key('r')
        tab.wait('document.body.dataset.status === "accepted"')
        assert 'changed elsewhere' in tab.value('document.getElementById("alarm").textContent')
        assert tab.value('document.getElementById("note").value') == 'by another'
    tab.complaints.clear()  # The browser itself complains about the answer 409.


@pytest.mark.timeout(200)
def test_keys_that_only_look(tab, folder):
    with serving(folder) as server:
        show(tab, server.url)
        size = (folder / 'labels' / 'labels.jsonl').stat().st_size
        tab.key('o')
        assert tab.value('document.querySelectorAll("figure:not([hidden])").length') == 1
        assert tab.value('document.querySelectorAll("image")[1].getAttribute("opacity")') == '0.5'
        tab.key('?', shift=True)
        assert tab.value('document.getElementById("help").open')
        tab.key('a')
        tab.key('Escape')
        assert not tab.value('document.getElementById("help").open')
        tab.key('Tab')
        assert tab.value('document.querySelector("#joints .chosen").dataset.joint') == SLP_14[0]
        tab.key('p')
        assert tab.value('document.querySelector("#joints .chosen").dataset.joint') == SLP_14[-1]
    assert (folder / 'labels' / 'labels.jsonl').stat().st_size == size
