"""Telethon's download half alone: reads a document over one connection and throws it away."""

import asyncio
import base64
import json
import sys

from telethon import TelegramClient
from telethon.crypto import AuthKey
from telethon.sessions import MemorySession
from telethon.tl.types import InputPeerChannel


async def main(task):
    home = next(dc for dc in task["session"]["dcs"] if dc["id"] == task["session"]["homeDc"])
    host, port = home["ipv4"].split(":")
    session = MemorySession()
    session.set_dc(home["id"], host, int(port))
    session.auth_key = AuthKey(base64.b64decode(home["authKey"]))
    client = TelegramClient(session, 1, "hash")
    await client.connect()
    channel = InputPeerChannel(task["channelId"], 0)
    message = await client.get_messages(channel, ids=task["messageId"])
    size = 0
    async for chunk in client.iter_download(message.media, request_size=512 * 1024):
        size += len(chunk)
    await client.disconnect()
    if size != message.file.size:
        sys.exit(f"{size} bytes came instead of {message.file.size}")


asyncio.run(main(json.loads(sys.argv[1])))
