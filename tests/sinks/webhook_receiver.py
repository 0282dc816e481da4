"""A receiver of webhooks on this host, which checks signatures as the standard says and answers as it is told."""

import base64
import hashlib
import hmac
import http.server
import threading
from collections import deque
from pathlib import Path


def registered(directory: Path, url: str, key: bytes, topic: str) -> dict[str, str]:
    """Settings that register a receiver on this host, where nobody need listen, for a topic."""
    file = directory / "webhooks.toml"
    secret = f"whsec_{base64.b64encode(key).decode()}"
    file.write_text(f'[desk]\nurl = "{url}"\ntopics = ["{topic}"]\nkeys = ["{secret}"]\n')
    file.chmod(0o600)
    return {"MANDI_WEBHOOKS": str(file), "MANDI_WEBHOOKS_ALLOW": "127.0.0.0/8"}


class WebhookReceiver:
    """`answers` are the next statuses with their Retry-After; 200 when there are none left."""

    def __init__(self, key: bytes, port: int = 0) -> None:
        self.answers: deque[tuple[int, dict[str, str]]] = deque()
        self.taken: list[tuple[str, bytes]] = []
        self.attempts: list[tuple[str, int]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = outer.answers.popleft() if outer.answers else (200, {})
                name = self.headers["webhook-id"]
                if not outer.verify(key, dict(self.headers.items()), body):
                    status = 401
                outer.attempts.append((name, status))
                if status == 200:
                    outer.taken.append((name, body))
                self.send_response(status)
                for header, value in headers.items():
                    self.send_header(header, value)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?desk=1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @staticmethod
    def verify(key: bytes, headers: dict[str, str], body: bytes) -> bool:
        given = {name.lower(): value for name, value in headers.items()}
        signed = f"{given['webhook-id']}.{given['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        found = (each.removeprefix("v1,") for each in given["webhook-signature"].split())
        return any(hmac.compare_digest(expected, each) for each in found)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
