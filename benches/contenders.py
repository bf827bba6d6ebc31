"""Who is measured: for each a function that gives the command and its environment."""

import json
import pathlib

import standins

HERE = pathlib.Path(__file__).parent


class Contenders:
    """The commands of all who are measured, against the same stand-ins."""

    def __init__(self, stand_ins, telestream, clients, modules):
        self.stand_ins = stand_ins
        self.telestream = telestream
        self.clients = pathlib.Path(clients)
        self.modules = modules
        self.objects = 0

    def _object(self):
        self.objects += 1
        return f"bench/{self.objects}"

    def ours(self, message, connections=8):
        """The whole pipeline: Telegram to Object Storage, with a link at the end."""
        oci = self.stand_ins.oci
        environment = {
            "API_ID": "1",
            "SESSION_FILE": self.stand_ins.folder / "session.json",
            "TELEGRAM_CONNECTIONS": connections,
            "OCI_CONFIG_FILE": self.stand_ins.oci_config,
            "OCI_NAMESPACE": oci["namespace"],
            "OCI_BUCKETNAME": oci["bucket"],
            "OCI_ENDPOINT": oci["endpoint"],
        }
        if self.stand_ins.tls:
            environment["SSL_CERT_FILE"] = self.stand_ins.certificate
        chat = f"--chat={standins.CHAT}"
        flags = [chat, f"--message={message}", f"--object={self._object()}"]
        return [self.telestream, "transfer", *flags], environment

    def original(self, message):
        """The method that this project grew from: the same pipeline, with Node.js."""
        oci = self.stand_ins.oci
        task = {
            **self._read(message),
            "modules": str(self.modules),
            "ociConfig": str(self.stand_ins.oci_config),
            "object": self._object(),
            **{key: oci[key] for key in ("endpoint", "namespace", "bucket")},
        }
        environment = {}
        if self.stand_ins.tls:
            environment["NODE_EXTRA_CA_CERTS"] = self.stand_ins.certificate
        return ["node", HERE / "baseline/transfer.js", json.dumps(task)], environment

    def gotd(self, message, connections=8):
        """gotd's parallel downloader with 8 threads. What comes is thrown away."""
        task = {
            **self._read(message),
            "mediaAddress": self.stand_ins.media_address,
            "transport": "intermediate",
            "connections": connections,
            "discard": True,
        }
        return [self.clients / "gotd", "download", json.dumps(task)], {}

    def telethon(self, message):
        """Telethon with cryptg. What comes is thrown away."""
        task = json.dumps(self._read(message))
        python = self.clients / "venv/bin/python"
        return [python, HERE / "telethon_download.py", task], {}

    def rclone(self, file):
        """rclone's upload of a file on disk, with the Go SDK."""
        oci = self.stand_ins.oci
        config = self.stand_ins.folder / "rclone.conf"
        config.write_text(
            "[oci]\ntype = oracleobjectstorage\nprovider = user_principal_auth\n"
            "config_profile = DEFAULT\nno_check_bucket = true\n"
            f"config_file = {self.stand_ins.oci_config}\ncompartment = {oci['tenancy']}\n"
            + "".join(f"{key} = {oci[key]}\n" for key in ("namespace", "region", "endpoint"))
        )
        target = f"oci:{oci['bucket']}/{self._object()}"
        command = [self.clients / "venv/bin/rclone", "--config", config, "copyto", file, target]
        # Parts of the size, and as many at a time, as ours.
        command += ["--oos-upload-cutoff", "16Mi", "--oos-chunk-size", "16Mi"]
        command += ["--oos-upload-concurrency", "3"]
        if self.stand_ins.tls:
            command += ["--ca-cert", self.stand_ins.certificate]
        return command, {}

    def _read(self, message):
        return {
            "session": self.stand_ins.session,
            "channelId": standins.CHANNEL,
            "messageId": message,
        }
