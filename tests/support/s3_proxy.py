"""A proxy before an S3 server that does to uploads what networks and servers do to them.

with Proxy(endpoint, faults) as proxy:
    ... requests to proxy.endpoint ...
"""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

#: lost: committed, no reply. late: committed, then 503. refused: 500, not committed. conflict: 409,
#: not committed. torn: half of the body reaches the server as if it were all. slow: a delayed
#: reply. blind: the condition of the write is taken away.
Fault = Literal["lost", "late", "refused", "conflict", "torn", "slow", "blind"]

_HOPS = {"connection", "transfer-encoding", "content-length", "expect"}


class Proxy:
    """Passes requests on; each PUT first asks `faults` what happens to it (None: nothing)."""

    def __init__(self, endpoint: str, faults: Callable[[], Fault | None]) -> None:
        self._target, self._faults = endpoint, faults
        #: How often each fault was met.
        self.met: Counter[str] = Counter()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def handle_any(self) -> None:
                outer._handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = None
        if request.command == "PUT":
            with self._lock:
                fault = self._faults()
                self.met[fault or "none"] += 1
        if fault == "refused":
            return _reply(request, 500, b"<Error><Code>InternalError</Code></Error>")
        if fault == "conflict":
            return _reply(request, 409, b"<Error><Code>ConditionalRequestConflict</Code></Error>")
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOPS}
        if fault == "blind":
            headers = {k: v for k, v in headers.items() if k.lower() != "if-none-match"}
        if fault == "torn":
            body = body[: len(body) // 2]
        upstream = http.client.HTTPConnection(self._target, timeout=30)
        upstream.request(request.command, request.path, body, headers)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        if fault in ("lost", "torn"):
            request.close_connection = True
            return None
        if fault == "late":
            return _reply(request, 503, b"<Error><Code>SlowDown</Code></Error>")
        if fault == "slow":
            time.sleep(0.02)
        return _reply(request, answer.status, data, answer.getheaders())


def _reply(
    request: BaseHTTPRequestHandler,
    status: int,
    data: bytes,
    headers: Sequence[tuple[str, str]] = (),
) -> None:
    request.send_response_only(status)
    length = str(len(data))
    for name, value in headers:
        if name.lower() == "content-length":
            length = value if request.command == "HEAD" else length
        elif name.lower() not in _HOPS:
            request.send_header(name, value)
    request.send_header("Content-Length", length)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(data)
