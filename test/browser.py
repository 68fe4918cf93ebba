"""A headless Chromium for tests, driven through the DevTools protocol over a pipe: no port, no further library."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager

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
    '--remote-debugging-pipe',
)
ANSWER_S = 120.0
"""Only a hanging browser takes as long, even on a machine with much else to do."""
KEY_CODES = {
    'Tab': 9, 'Enter': 13, 'Escape': 27, ' ': 32, 'ArrowLeft': 37, 'ArrowUp': 38, 'ArrowRight': 39, 'ArrowDown': 40,
    'Delete': 46,
}  # fmt: skip
SHIFT = 8


class Tab:
    """One tab, and what it asked the network for."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._count = self._loads = 0
        self._rest = b''
        self._session = None
        self.requested = []
        self.complaints = []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Network', 'Page', 'Runtime', 'Log'):
            self.call(f'{domain}.enable')

    def call(self, method, **params):
        self._count += 1
        message = {'id': self._count, 'method': method, 'params': params}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._to, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._next(ANSWER_S)
            if answer.get('id') == self._count:
                assert 'error' not in answer, f'{method}: {answer["error"]}'
                return answer['result']

    def _next(self, timeout):
        deadline = time.monotonic() + timeout
        while b'\0' not in self._rest:
            ready = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, 'the browser does not answer'
            piece = os.read(self._from, 1 << 20)
            assert piece, 'the browser ended'
            self._rest += piece
        line, _, self._rest = self._rest.partition(b'\0')
        message = json.loads(line)
        self._keep(message.get('method'), message.get('params', {}))
        return message

    def _keep(self, method, params):
        if method == 'Network.requestWillBeSent':
            self.requested.append(params['request']['url'])
        if method == 'Runtime.exceptionThrown':
            self.complaints.append(params['exceptionDetails'].get('exception', {}).get('description', str(params)))
        if method == 'Log.entryAdded' and params['entry']['level'] == 'error':
            self.complaints.append(f'{params["entry"]["text"]} {params["entry"].get("url", "")}')

    def open(self, url):
        """Load a page anew, whatever is open."""
        address, _, fragment = url.partition('#')
        self._loads += 1  # Another query: with another fragment alone the browser would not load anything.
        self.call('Page.navigate', url=f'{address}?{self._loads}#{fragment}')

    def value(self, expression):
        """Return what a JavaScript expression is worth, as JSON."""
        answer = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in answer, f'{expression}: {answer["exceptionDetails"]}'
        return answer['result'].get('value')

    def wait(self, expression, timeout=60.0):
        """Wait until the expression is true; return its value."""
        deadline = time.monotonic() + timeout
        while not (found := self.value(expression)):
            assert time.monotonic() < deadline, f'{expression} stays {found!r}; complaints: {self.complaints}'
            time.sleep(0.05)
        return found

    def key(self, key, shift=False):
        named = {'key': key, 'modifiers': SHIFT if shift else 0}
        if len(key) == 1:
            named['text'] = key
        named['windowsVirtualKeyCode'] = KEY_CODES.get(key, ord(key.upper()[0]))
        self.call('Input.dispatchKeyEvent', type='keyDown', **named)
        named.pop('text', None)
        self.call('Input.dispatchKeyEvent', type='keyUp', **named)

    def click(self, x, y):
        self.drag((x, y), (x, y), steps=0)

    def drag(self, start, end, steps=5):
        """Press at `start`, move to `end`, let go; viewport pixels."""
        (x0, y0), (x1, y1) = start, end
        self._mouse('mouseMoved', x0, y0, buttons=0)
        self._mouse('mousePressed', x0, y0)
        for step in range(1, steps + 1):
            self._mouse('mouseMoved', x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps)
        self._mouse('mouseReleased', x1, y1, buttons=0)

    def _mouse(self, kind, x, y, buttons=1):
        button = 'none' if kind == 'mouseMoved' and not buttons else 'left'
        self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button=button, buttons=buttons, clickCount=1)

    def wheel(self, x, y, delta):
        self.call('Input.dispatchMouseEvent', type='mouseWheel', x=x, y=y, deltaX=0, deltaY=delta)

    def screenshot(self) -> bytes:
        """Return a PNG."""
        return base64.b64decode(self.call('Page.captureScreenshot', format='png')['data'])


@contextmanager
def browser(profile, width=1280, height=720):
    """Yield a tab of a fresh Chromium whose profile lies in an empty folder."""
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    # The browser reads from 3 and writes to 4; what is to become these must lie elsewhere.
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (theirs_in, theirs_out)]
    command = [CHROMIUM, *FLAGS, f'--window-size={width},{height}', f'--user-data-dir={profile}', 'about:blank']
    script = f'exec "$@" 3<&{high[0]} 4>&{high[1]}'
    process = subprocess.Popen(['bash', '-c', script, 'bash', *command], pass_fds=high, stderr=subprocess.DEVNULL)
    for each in (theirs_in, theirs_out, *high):
        os.close(each)
    try:
        yield Tab(ours_out, ours_in)
    finally:
        process.kill()
        process.wait()
        os.close(ours_in)
        os.close(ours_out)
