"""
`hwhup label review`: a page on this computer to look at frames and correct their labels.

It is served to 127.0.0.1 alone and loads nothing from elsewhere. Another site in the same browser can neither read it
(names that point here are refused: DNS rebinding) nor change anything (requests must come from the page itself).
Frames are asked for by their number, so no request holds a path.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hwhup_core.data.recording_card import Json
from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.labeling.label_lock import only_writer
from hwhup_core.labeling.review_frames import RequestRefused, ReviewFrames, change_from_plain

PAGE = Path(__file__).parent / 'review_page'
PAGE_FILES = {
    '/': ('index.html', 'text/html; charset=utf-8'),
    '/icon.svg': ('icon.svg', 'image/svg+xml'),
    '/review.css': ('review.css', 'text/css; charset=utf-8'),
    '/review.js': ('review.js', 'text/javascript; charset=utf-8'),
    '/panes.js': ('panes.js', 'text/javascript; charset=utf-8'),
    '/saving.js': ('saving.js', 'text/javascript; charset=utf-8'),
}
HEADERS = {
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    # Pictures of people do not belong in the browser's cache, which no purge reaches.
    'Cache-Control': 'no-store',
}
ADDRESS = '127.0.0.1'
OWN_NAMES = (ADDRESS, 'localhost')
LARGEST_BODY = 1 << 16
"""Bytes of a request."""
_FRAME = re.compile(r'/api/frames/([0-9]{1,9})(?:/(color|depth|infrared|pressure|mask))?')
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    """What goes back to the browser."""

    status: HTTPStatus
    media: str
    content: bytes


class ReviewServer(ThreadingHTTPServer):
    """The page of one recording."""

    daemon_threads = True

    def __init__(self, port: int, frames: ReviewFrames) -> None:
        super().__init__((ADDRESS, port), _Handler)
        self.frames = frames

    @property
    def url(self) -> str:
        """Return where the page is."""
        return f'http://{ADDRESS}:{self.server_port}/'

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a browser hangs up: it does so with every picture that it no longer needs."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            _log.exception('A request failed.')


@contextmanager
def review_server(recording: Path, port: int = 0) -> Iterator[ReviewServer]:
    """Return the server of a recording, not yet serving (`serve_forever`); port 0 takes a free one."""
    frames = ReviewFrames(recording)
    with only_writer(recording):
        try:
            server = ReviewServer(port, frames)
        except (OSError, OverflowError) as error:
            raise ConfigError(f'Port {port} cannot be used ({error}). Give another one with --port.') from error
        with server:
            yield server


def serve_review(
    recording: Path, port: int = 8090, open_browser: bool = False, announce: Callable[[str], None] = _log.info
) -> None:
    """Serve the page until the program is interrupted; `announce` is told where it is."""
    with review_server(recording, port) as server:
        announce(f'{len(server.frames.recording)} frames to review at {server.url} (Ctrl-C ends)')
        if open_browser:
            # A browser in the terminal answers when it is closed.
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    server: ReviewServer
    server_version = 'hwhup'
    sys_version = ''
    protocol_version = 'HTTP/1.1'
    timeout = 60

    def do_GET(self) -> None:
        self._send(self._reply(self._get))

    def do_POST(self) -> None:
        self._send(self._reply(self._post))

    def _reply(self, action: Callable[[], Reply]) -> Reply:
        try:
            self._require_own_name()
            return action()
        except RequestRefused as error:
            self.close_connection = True
            return _json({'error': str(error)}, error.status)
        except (HwhupError, OSError) as error:
            _log.warning('%s %s: %s', self.command, self.path[:100], error)
            self.close_connection = True
            return _json({'error': str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _require_own_name(self) -> None:
        """Refuse sites whose name was made to point to this computer."""
        if self.headers.get('Host', '').rsplit(':', 1)[0] not in OWN_NAMES:
            raise RequestRefused(f'This page is served as {" or ".join(OWN_NAMES)} only.', HTTPStatus.FORBIDDEN)

    def _require_own_page(self) -> None:
        """Refuse requests that another page of the browser sends; the page itself may be opened by a link."""
        own = f'http://{self.headers["Host"]}'
        origin = self.headers.get('Origin', own if self.command == 'GET' else '')
        site = self.headers.get('Sec-Fetch-Site', 'none')
        if origin != own or site not in ('same-origin', 'none'):
            raise RequestRefused('Requests must come from the page itself.', HTTPStatus.FORBIDDEN)

    def _get(self) -> Reply:
        path = self.path.partition('?')[0]
        if path in PAGE_FILES:
            name, media = PAGE_FILES[path]
            return Reply(HTTPStatus.OK, media, (PAGE / name).read_bytes())
        self._require_own_page()
        if path == '/api/recording':
            return _json(self.server.frames.overview())
        index, picture = _asked(path)
        if picture is None:
            return _json(self.server.frames.frame(index))
        return Reply(HTTPStatus.OK, *self.server.frames.picture(index, picture))

    def _post(self) -> Reply:
        self._require_own_page()
        index, picture = _asked(self.path)
        if picture is not None:
            raise RequestRefused('Pictures cannot be changed.')
        return _json(self.server.frames.save(index, change_from_plain(self._body())))

    def _body(self) -> Json:
        length = self.headers.get('Content-Length', '')
        if not re.fullmatch('[0-9]{1,9}', length) or int(length) > LARGEST_BODY:
            raise RequestRefused(f'A request has a Content-Length of at most {LARGEST_BODY} bytes.')
        if self.headers.get_content_type() != 'application/json':
            raise RequestRefused('Send application/json.')
        try:
            return json.loads(self.rfile.read(int(length)), parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise RequestRefused(f'This is no JSON: {error}') from error

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header('Content-Type', reply.media)
        self.send_header('Content-Length', str(len(reply.content)))
        if self.close_connection:
            self.send_header('Connection', 'close')
        self.end_headers()
        self.wfile.write(reply.content)

    def log_message(self, format: str, *args: object) -> None:
        _log.debug(format, *args)


def _asked(path: str) -> tuple[int, str | None]:
    """Return number and picture of the frame that a request is about."""
    found = _FRAME.fullmatch(path)
    if found is None:
        raise RequestRefused('There is no such page.', HTTPStatus.NOT_FOUND)
    return int(found[1]), found[2]


def _json(content: Json, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(status, 'application/json', json.dumps(content, allow_nan=False).encode())


def _no_number(name: str) -> Json:
    raise ValueError(f'{name} is no number')
