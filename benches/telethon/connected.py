"""A Telethon client that is signed in at the stand-in, and the message it is to look at."""

import base64

from telethon import TelegramClient
from telethon.crypto import AuthKey
from telethon.sessions import MemorySession
from telethon.tl.types import InputPeerChannel


async def connect(task):
    """The client, connected, and the message of the task."""
    home = next(dc for dc in task["session"]["dcs"] if dc["id"] == task["session"]["homeDc"])
    host, port = home["ipv4"].split(":")
    session = MemorySession()
    session.set_dc(home["id"], host, int(port))
    session.auth_key = AuthKey(base64.b64decode(home["authKey"]))
    client = TelegramClient(session, 1, "hash", connection_retries=1)
    await client.connect()
    channel = InputPeerChannel(task["channelId"], 0)
    return client, await client.get_messages(channel, ids=task["messageId"])
