"""The live page: what headless Chromium shows of it."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request

import cv2
import numpy as np
import pytest
import torch

from hwhup_core.body.model import load_body
from hwhup_core.types import BodyEstimate, BodyParams, Intrinsics, PersonBox, Posture, State

pytest.importorskip('viser', reason='the live page needs viser')

from hwhup_ros.viewer import MESH_COLOR, Page, ViewerConfig

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
FLAGS = (
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
    '--window-size=900,600',
    '--remote-debugging-port=0',
)
PAGE_TIMEOUT_S = 60.0


def lying_estimate(body, distance):
    """Return an infant on its back, `distance` metres below a camera that looks down."""
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    params = BodyParams(half_turn[None], torch.eye(3).repeat(1, 23, 1, 1), torch.zeros(1, 10))
    joints = body.skeleton(params).joints[0].numpy()
    return BodyEstimate(
        stamp_ns=1, frame_id='camera', subject_id='subject', state=State.ESTIMATED, confidence=0.8,
        body_id=body.body_id, body_hash=body.hash, weights_hash='', betas=np.zeros(10),
        pose=np.concatenate([[np.pi], np.zeros(71)]), root_position=np.array([0.0, 0.0, distance]),
        root_orientation=np.array([1.0, 0.0, 0.0, 0.0]), joint_positions=joints - joints[:1] + [0.0, 0.0, distance],
        joint_orientations=np.tile([1.0, 0.0, 0.0, 0.0], (24, 1)), joint_pixels=np.zeros((24, 2)),
        joint_visibility=np.ones(24), joint_confidence=np.ones(24), joint_sigma=np.zeros(24),
        box=PersonBox(80.0, 60.0, 100.0), camera=np.zeros(3), posture=Posture.SUPINE, aligned_depth_error=0.01,
    )  # fmt: skip


class Tab:
    """One tab of a headless Chromium, through the DevTools protocol."""

    def __init__(self, port):
        from websockets.sync.client import connect

        with urllib.request.urlopen(f'http://127.0.0.1:{port}/json') as answer:
            tab = next(each for each in json.load(answer) if each['type'] == 'page')
        self._socket = connect(tab['webSocketDebuggerUrl'], max_size=None)
        self._count = 0
        self.requested = []
        self.call('Network.enable')

    def call(self, method, **params):
        self._count += 1
        self._socket.send(json.dumps({'id': self._count, 'method': method, 'params': params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=30))
            if answer.get('method') == 'Network.requestWillBeSent':
                self.requested.append(answer['params']['request']['url'])
            if answer.get('id') == self._count:
                return answer['result']

    def screenshot(self):
        png = base64.b64decode(self.call('Page.captureScreenshot', format='png')['data'])
        return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@pytest.fixture
def tab(tmp_path):
    if CHROMIUM is None:
        pytest.skip('no Chromium is installed')
    command = [CHROMIUM, *FLAGS, f'--user-data-dir={tmp_path / "profile"}', 'about:blank']
    browser = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in browser.stderr if 'DevTools listening on' in line)
        yield Tab(line.split('127.0.0.1:')[1].split('/')[0])
    finally:
        browser.kill()
        browser.wait()


@pytest.fixture
def page():
    body = load_body('infant')
    shown = Page(ViewerConfig(port=0), body)
    intrinsics = Intrinsics(150.0, 150.0, 80.0, 60.0, 160, 120)
    color = np.full((120, 160, 3), (200, 60, 60), np.uint8)
    shown.show_image(color)
    shown.show_points(np.full((120, 160), 1.35, np.float32), color, intrinsics)
    shown.show_body(lying_estimate(body, 1.25))
    yield shown
    shown.stop()


def blueish(picture):
    """Return where the picture has the hue of the mesh, whatever the light."""
    hue = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(int)
    wanted = cv2.cvtColor(np.array([[MESH_COLOR]], np.uint8), cv2.COLOR_RGB2HSV)[0, 0].astype(int)
    return (np.abs(hue[..., 0] - wanted[0]) < 8) & (hue[..., 1] > 60)


@pytest.mark.timeout(150)
def test_chromium_shows_mesh_and_points(page, tab, tmp_path):
    tab.call('Page.navigate', url=page.url)
    deadline = time.monotonic() + PAGE_TIMEOUT_S
    while time.monotonic() < deadline:
        time.sleep(1.0)
        picture = tab.screenshot()
        reddish = (picture[..., 0] > 120) & (picture[..., 1] < 100)
        if blueish(picture).sum() > 2000 and reddish.sum() > 5000:
            break
    cv2.imwrite(str(tmp_path / 'page.png'), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert blueish(picture).sum() > 2000, f'no mesh on the page, see {tmp_path / "page.png"}'
    assert reddish.sum() > 5000, f'no points on the page, see {tmp_path / "page.png"}'
    web = [url for url in tab.requested if url.startswith(('http', 'ws')) and '127.0.0.1' not in url]
    assert not web, 'the page must work without the internet'


def test_page_is_for_this_computer_only(page):
    assert page.url.startswith('http://127.0.0.1:')


def test_hidden_body_can_come_back(page):
    page.hide_body('nobody')
    assert not page._mesh.visible
    page.show_body(lying_estimate(load_body('infant'), 1.3))
    assert page._mesh.visible
