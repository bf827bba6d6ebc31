"""The programs that are measured: how each is told what to move between the stand-ins."""

import itertools
import json
import subprocess
from pathlib import Path

from process import run
from stand_ins import CHANNEL, CHAT

HERE = Path(__file__).parent


class Telestream:
    """The product: `telestream transfer`, a whole process from its start to the printed link."""

    def __init__(self, program, stand_ins):
        self.program = program
        self.stand_ins = stand_ins
        self.numbers = itertools.count(1)

    def transfer(self, message, connections=None, seen=None):
        """Moves the file of `message` into an object of its own."""
        command = self._command(message) + ["--object", f"telestream-{next(self.numbers)}"]
        return run(command, self._environment(connections), seen)

    def begin(self, message):
        """Starts moving the file of `message` into the object that is named after it."""
        return subprocess.Popen(
            self._command(message),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def go_on(self, message):
        """Takes up what `begin` left behind."""
        return run(self._command(message), self._environment())

    def _command(self, message):
        return [self.program, "transfer", f"--chat={CHAT}", f"--message={message['messageId']}"]

    def _environment(self, connections=None):
        storage = self.stand_ins.storage
        session = self.stand_ins.path / "session.json"
        session.write_text(json.dumps(self.stand_ins.session()))
        environment = {
            "API_ID": "1",
            "SESSION_FILE": str(session),
            "OCI_NAMESPACE": storage["namespace"],
            "OCI_BUCKETNAME": storage["bucket"],
            "OCI_CONFIG_FILE": str(profile(self.stand_ins)),
            "OCI_ENDPOINT": storage["endpoint"],
        }
        if connections:
            environment["TELEGRAM_CONNECTIONS"] = str(connections)
        return environment | trust("SSL_CERT_FILE", self.stand_ins)


def profile(stand_ins):
    """An OCI configuration file for the stand-in, with its key beside it."""
    storage, path = stand_ins.storage, stand_ins.path / "oci.conf"
    key = stand_ins.path / "key.pem"
    key.write_text(storage["privateKey"])
    key.chmod(0o600)
    names = ("tenancy", "user", "fingerprint", "region")
    lines = [f"{name}={storage[name]}" for name in names]
    path.write_text("\n".join(["[DEFAULT]", *lines, f"key_file={key}", ""]))
    path.chmod(0o600)
    return path


def trust(variable, stand_ins):
    """The environment that makes a program trust the stand-in's certificate."""
    return {variable: str(stand_ins.certificate)} if stand_ins.tls else {}


def original(peers, stand_ins, message):
    """The original program's method: gramjs, and Oracle's SDK for Node."""
    task = task_of(stand_ins, message) | {
        "modules": str(peers / "baseline"),
        "storage": stand_ins.storage,
        "object": "original",
    }
    command = ["node", HERE / "baseline" / "transfer.js", json.dumps(task)]
    return run(command, trust("NODE_EXTRA_CA_CERTS", stand_ins))


def gotd(peers, stand_ins, message, threads):
    """gotd's parallel downloader, throwing away what it gets."""
    task = task_of(stand_ins, message)
    location = run_telethon(peers, "locate.py", task).printed()
    task |= {"location": location, "size": message["size"], "threads": threads}
    return run([peers / "gotd", json.dumps(task)], {})


def telethon(peers, stand_ins, message):
    """Telethon's iter_download with its native cipher, throwing away what it gets."""
    return run_telethon(peers, "download.py", task_of(stand_ins, message))


def run_telethon(peers, script, task):
    """One of the scripts that use Telethon."""
    python = peers / "venv" / "bin" / "python"
    return run([python, HERE / "telethon" / script, json.dumps(task)], {})


def task_of(stand_ins, message):
    """What all peers are told."""
    return {
        "session": stand_ins.session(),
        "channelId": CHANNEL,
        "messageId": message["messageId"],
    }


def rclone(peers, stand_ins, file):
    """rclone, uploading a file with its backend for Object Storage, with that backend's defaults."""
    storage = stand_ins.storage
    configuration = stand_ins.path / "rclone.conf"
    configuration.write_text(
        "[sim]\n"
        "type = oracleobjectstorage\n"
        "provider = user_principal_auth\n"
        f"namespace = {storage['namespace']}\n"
        f"compartment = {storage['tenancy']}\n"
        f"region = {storage['region']}\n"
        f"endpoint = {storage['endpoint']}\n"
        f"config_file = {profile(stand_ins)}\n"
        "config_profile = DEFAULT\n"
        "no_check_bucket = true\n"
    )
    target = f"sim:{storage['bucket']}/rclone"
    # --ignore-times: each run uploads, though the object is there already.
    options = ["--config", configuration, "--retries", "1", "--ignore-times"]
    command = [peers / "venv" / "bin" / "rclone", *options, "copyto", file, target]
    return run(command, trust("SSL_CERT_FILE", stand_ins))
