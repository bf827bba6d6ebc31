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


def original(modules, stand_ins, message):
    """The original program's method: gramjs, and Oracle's SDK for Node."""
    task = task_of(stand_ins, message) | {
        "modules": str(modules),
        "storage": stand_ins.storage,
        "object": "original",
    }
    command = ["node", HERE / "baseline" / "transfer.js", json.dumps(task)]
    return run(command, trust("NODE_EXTRA_CA_CERTS", stand_ins))


def gotd(clients, stand_ins, message, connections):
    """gotd's parallel downloader with 8 threads, throwing away what it gets."""
    task = task_of(stand_ins, message) | {
        "mediaAddress": stand_ins.media_address,
        "transport": "intermediate",
        "connections": connections,
        "discard": True,
    }
    return run([clients / "gotd", "download", json.dumps(task)], {})


def grammers(program, stand_ins, message):
    """grammers with four requests at a time, throwing away what it gets."""
    return run([program, json.dumps(task_of(stand_ins, message))], {})


def telethon(clients, stand_ins, message):
    """Telethon's iter_download with its native cipher, throwing away what it gets."""
    python = clients / "venv" / "bin" / "python"
    task = json.dumps(task_of(stand_ins, message))
    return run([python, HERE / "telethon_download.py", task], {})


def task_of(stand_ins, message):
    """What all peers are told."""
    return {
        "session": stand_ins.session(),
        "channelId": CHANNEL,
        "messageId": message["messageId"],
    }


def rclone(clients, stand_ins, file):
    """rclone, uploading a file with its backend for Object Storage: parts as large as ours, and as
    many at a time."""
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
    options += ["--oos-upload-cutoff", "16Mi", "--oos-chunk-size", "16Mi"]
    options += ["--oos-upload-concurrency", "3"]
    command = [clients / "venv" / "bin" / "rclone", *options, "copyto", file, target]
    return run(command, trust("SSL_CERT_FILE", stand_ins))
