"""Downloads one document with Telethon's own iter_download and throws it away.

The task comes as JSON in the first argument. Printed is what was moved, and in what time once the
client was connected: {"size": ..., "seconds": ...}.
"""

import asyncio
import base64
import json
import sys
import time

import cryptg  # noqa: F401 (Telethon's fast cipher: without it this would measure Python)
from telethon import TelegramClient
from telethon.crypto import AuthKey
from telethon.sessions import MemorySession
from telethon.tl.types import InputPeerChannel

PIECE = 512 * 1024


async def main(task):
    home = next(dc for dc in task["session"]["dcs"] if dc["id"] == task["session"]["homeDc"])
    host, port = home["ipv4"].split(":")
    session = MemorySession()
    session.set_dc(home["id"], host, int(port))
    session.auth_key = AuthKey(base64.b64decode(home["authKey"]))
    client = TelegramClient(session, 1, "hash", connection_retries=1)
    await client.connect()
    channel = InputPeerChannel(task["channelId"], 0)
    message = await client.get_messages(channel, ids=task["messageId"])
    begin, size = time.monotonic(), 0
    async for chunk in client.iter_download(message.media, request_size=PIECE):
        size += len(chunk)
    seconds = time.monotonic() - begin
    await client.disconnect()
    print(json.dumps({"size": size, "seconds": seconds}))


asyncio.run(main(json.loads(sys.argv[1])))
