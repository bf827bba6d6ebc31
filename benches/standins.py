"""The stand-ins for Telegram and Object Storage, as a process beside the measured one."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import urllib.request

CHAT = -1001234567890
CHANNEL = 1234567890
MIB = 1 << 20


class StandIns:
    """Running stand-ins; a context manager."""

    def __init__(self, program, tls):
        self.program = program
        self.tls = tls

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="telestream-bench-"))
        command = [self.program, "serve", "--data-dir", self.folder, "--oci-discard"]
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(
            command + (["--oci-tls"] if self.tls else []),
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        ready = self.process.stdout.readline()
        if not ready:
            raise SystemExit("the stand-ins did not start: " + (self.folder / "log").read_text())
        addresses = json.loads(ready)
        self.admin = addresses["admin"]
        home = addresses["telegram"]["homeDc"]
        self.media_address = next(
            dc["mediaAddress"] for dc in addresses["telegram"]["dcs"] if dc["id"] == home
        )
        self.session = self.call("/telegram/sessions", {"identity": "bot"})
        (self.folder / "session.json").write_text(json.dumps(self.session))
        self.oci = self.call("/oci/config")
        (self.folder / "key.pem").write_text(self.oci["privateKey"])
        self.oci_config = self.folder / "oci-config"
        self.oci_config.write_text(
            "[DEFAULT]\n"
            f"user={self.oci['user']}\nfingerprint={self.oci['fingerprint']}\n"
            f"tenancy={self.oci['tenancy']}\nregion={self.oci['region']}\n"
            f"key_file={self.folder / 'key.pem'}\n"
        )
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder)

    def call(self, path, body=None, method=None):
        """Makes a call of the admin interface."""
        request = urllib.request.Request(
            self.admin + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request) as reply:
            answer = reply.read()
        return json.loads(answer) if answer else None

    def send(self, size):
        """Lets a file of so many bytes stand in the channel; returns its message's number."""
        message = {
            "chatId": CHAT,
            "kind": "document",
            "name": "file.bin",
            "mimeType": "application/octet-stream",
            "size": size,
            "seed": size,
        }
        return self.call("/telegram/messages", message)["messageId"]

    def shape(self, bytes_per_second, milliseconds):
        """Lets Telegram be far away: so much a connection, and so late every answer."""
        self.call("/telegram/rate", {"bytesPerSecond": bytes_per_second}, "PUT")
        self.call("/telegram/latency", {"milliseconds": milliseconds}, "PUT")

    @property
    def certificate(self):
        """What a client of Object Storage has to trust, if that speaks TLS."""
        return self.folder / "oci-certificate.pem"

    def received(self):
        """Bytes that Object Storage has received since it was asked to count anew."""
        return sum(body["bytes"] for body in self.call("/oci/traffic")["bodies"])

    def count_anew(self):
        """Forgets what was received."""
        self.call("/oci/traffic", method="DELETE")
