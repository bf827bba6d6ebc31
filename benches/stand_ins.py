"""The stand-ins for Telegram and Object Storage: a process of their own, and their admin interface."""

import http.client
import json
import os
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from process import Failed

CHAT = -1001234567890
CHANNEL = 1234567890
BOT = {"identity": "bot"}


class StandIns:
    """Running stand-ins, which keep checksums of what they get instead of bytes."""

    def __init__(self, program, tls):
        self.tls = tls
        self.folder = tempfile.TemporaryDirectory(prefix="telestream-bench-")
        self.path = Path(self.folder.name)
        command = [program, "serve", "--data-dir", self.path / "data", "--oci-discard"]
        with open(self.path / "log", "w") as log:
            self.process = subprocess.Popen(
                command + (["--oci-tls"] if tls else []),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={"RUST_LOG": "warn"},
            )
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"{program} did not start:\n{(self.path / 'log').read_text()}")
        announced = json.loads(line)
        home = announced["telegram"]["homeDc"]
        centres = announced["telegram"]["dcs"]
        self.media_address = next(dc["mediaAddress"] for dc in centres if dc["id"] == home)
        admin = urlsplit(announced["admin"]).netloc
        self.connection = http.client.HTTPConnection(admin, timeout=300)
        self.storage = self.admin("GET", "/oci/config")
        self.messages = {}
        # Peers open several connections to the main door with one key, which Telegram punishes.
        self.admin("PUT", "/telegram/key-sharing", "allow")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()

    def admin(self, method, path, body=None):
        """What the admin interface answers."""
        document = None if body is None else json.dumps(body)
        return self._ask(method, path, document, {"Content-Type": "application/json"})

    def _ask(self, method, path, body, headers):
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        text = response.read()
        if response.status >= 300:
            raise Failed(
                f"the stand-ins answer {method} {path} with {response.status}: {text.decode()}"
            )
        return json.loads(text) if text else None

    @property
    def certificate(self):
        """The certificate that clients must trust, if Object Storage speaks TLS."""
        return self.path / "data" / "oci-certificate.pem" if self.tls else None

    def session(self):
        """A fresh session of the bot."""
        return self.admin("POST", "/telegram/sessions", BOT)

    def publish(self, size):
        """A new message with a file of `size` random bytes."""
        return self.admin(
            "POST",
            "/telegram/messages",
            {"chatId": CHAT, "kind": "document", "name": "film.mp4", "size": size, "seed": size},
        )

    def message(self, size):
        """A message with a file of `size` bytes, the same one each time."""
        if size not in self.messages:
            self.messages[size] = self.publish(size)
        return self.messages[size]

    def publish_file(self, path):
        """A new message with that very file."""
        query = urlencode({"chatId": CHAT, "name": path.name})
        with open(path, "rb") as file:
            headers = {"Content-Length": str(os.path.getsize(path))}
            return self._ask("PUT", f"/telegram/files?{query}", file, headers)

    def shape(self, bytes_per_second, latency_milliseconds):
        """Slows the connections to Telegram down: each by itself, and every answer."""
        self.admin("PUT", "/telegram/rate", {"bytesPerSecond": bytes_per_second})
        self.admin("PUT", "/telegram/latency", {"milliseconds": latency_milliseconds})

    def unshape(self):
        """Undoes it."""
        self.shape(None, 0)

    def received(self):
        """Bytes of objects that Object Storage has received so far, those it threw away included."""
        return sum(body["bytes"] for body in self.admin("GET", "/oci/traffic")["bodies"])

    def fetched_again(self, file_id):
        """Bytes of a file that Telegram sent more than once."""
        files = self.admin("GET", "/telegram/traffic")["files"]
        return sum(file["bytesAgain"] for file in files if file["fileId"] == file_id)

    def cpu_seconds(self):
        """Processor time they have taken so far."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
