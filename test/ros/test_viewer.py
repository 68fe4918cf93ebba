"""The live page: what headless Chromium shows of it."""

import base64
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml

from hwhup_core.body.model import load_body
from hwhup_core.types import BodyEstimate, BodyParams, Intrinsics, PersonBox, Posture, State

pytest.importorskip('viser', reason='the live page needs viser')

from hwhup_ros.crib_monitor import find_config
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
PANEL_LEFT = 560
"""Right of it is the page's panel, whose buttons are blue, too; pixels."""


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


def look(tab, url, done):
    """Open a page and return what the browser shows of it once it is `done`, or when time is up."""
    tab.call('Page.navigate', url=url)
    deadline = time.monotonic() + PAGE_TIMEOUT_S
    while time.monotonic() < deadline:
        time.sleep(0.5)
        picture = tab.screenshot()
        if done(picture):
            break
    return picture


@pytest.mark.timeout(150)
def test_chromium_shows_mesh_and_points(page, tab, tmp_path):
    def reddish(picture):
        return (picture[..., 0] > 120) & (picture[..., 1] < 100)

    picture = look(tab, page.url, lambda seen: blueish(seen).sum() > 2000 and reddish(seen).sum() > 5000)
    cv2.imwrite(str(tmp_path / 'page.png'), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert blueish(picture).sum() > 2000, f'no mesh on the page, see {tmp_path / "page.png"}'
    assert reddish(picture).sum() > 5000, f'no points on the page, see {tmp_path / "page.png"}'
    web = [url for url in tab.requested if url.startswith(('http', 'ws')) and '127.0.0.1' not in url]
    assert not web, 'the page must work without the internet'


def test_page_is_for_this_computer_only(page):
    assert page.url.startswith('http://127.0.0.1:')


def test_hidden_body_can_come_back(page):
    page.hide_body('nobody')
    assert not page._mesh.visible
    page.show_body(lying_estimate(load_body('infant'), 1.3))
    assert page._mesh.visible


@pytest.fixture
def monitor(bundled_weights, tmp_path):
    """Run the monitor with the live page on a small synthetic camera; return its URL."""
    parameters = yaml.safe_load(find_config('crib_monitor.yaml').read_text())
    parameters['/**/synthetic_camera_node']['ros__parameters'] = {
        'width': 320, 'height': 240, 'focal_px': 280.0, 'rate_hz': 5.0,
    }  # fmt: skip
    (tmp_path / 'monitor.yaml').write_text(yaml.safe_dump(parameters))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = [sys.executable, '-m', 'hwhup_ros.crib_monitor', '--params', str(tmp_path / 'monitor.yaml')]
    with (tmp_path / 'log').open('w') as log:
        process = subprocess.Popen([*command, '--view', str(port)], stdout=log, stderr=subprocess.STDOUT)
        try:
            yield SimpleNamespace(url=f'http://127.0.0.1:{port}', process=process, log=tmp_path / 'log')
        finally:
            process.kill()
            process.wait()


def answers(monitor):
    """Return the HTTP status of the page of a running monitor."""
    deadline = time.monotonic() + PAGE_TIMEOUT_S
    while time.monotonic() < deadline and monitor.process.poll() is None:
        try:
            with urllib.request.urlopen(monitor.url, timeout=5.0) as page:
                return page.status
        except OSError:  # Not there yet.
            time.sleep(0.2)
    raise AssertionError(f'no page at {monitor.url}: {monitor.log.read_text()}')


@pytest.mark.timeout(200)
def test_a_running_monitor_serves_the_page(monitor):
    assert answers(monitor) == 200
    # The page is up before the other nodes; only then is its address printed.
    deadline = time.monotonic() + PAGE_TIMEOUT_S
    while monitor.url not in monitor.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    monitor.process.send_signal(signal.SIGINT)
    monitor.process.wait(timeout=PAGE_TIMEOUT_S)
    log = monitor.log.read_text()
    assert monitor.url in log
    assert 'Traceback' not in log


@pytest.mark.timeout(200)
def test_chromium_shows_the_mesh_of_a_running_monitor(monitor, tab, tmp_path):
    assert answers(monitor) == 200

    def mesh_pixels(picture):
        return blueish(picture[:, :PANEL_LEFT]).sum()

    picture = look(tab, monitor.url, lambda seen: mesh_pixels(seen) > 1000)
    cv2.imwrite(str(tmp_path / 'page.png'), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert mesh_pixels(picture) > 1000, f'no mesh, see {tmp_path / "page.png"}; {monitor.log.read_text()}'
    monitor.process.send_signal(signal.SIGINT)
    assert monitor.process.wait(timeout=PAGE_TIMEOUT_S) == 0, monitor.log.read_text()
