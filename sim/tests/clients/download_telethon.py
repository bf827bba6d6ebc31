"""Downloads one document with Telethon and prints what came.

As a user it finds the channel in the list of chats; as a bot it names it by number.
"""

import asyncio
import base64
import hashlib
import json
import sys

from telethon import TelegramClient
from telethon.crypto import AuthKey
from telethon.network import (
    ConnectionTcpAbridged,
    ConnectionTcpFull,
    ConnectionTcpIntermediate,
)
from telethon.sessions import MemorySession
from telethon.tl.types import InputPeerChannel

TRANSPORTS = {
    "full": ConnectionTcpFull,
    "intermediate": ConnectionTcpIntermediate,
    "abridged": ConnectionTcpAbridged,
}


async def main(task):
    home = next(dc for dc in task["session"]["dcs"] if dc["id"] == task["session"]["homeDc"])
    host, port = home["ipv4"].split(":")
    session = MemorySession()
    session.set_dc(home["id"], host, int(port))
    session.auth_key = AuthKey(base64.b64decode(home["authKey"]))
    client = TelegramClient(
        session, 1, "hash", connection=TRANSPORTS[task["transport"]], connection_retries=1
    )
    await client.connect()
    me = await client.get_me()
    if me.bot:
        chat = InputPeerChannel(task["channelId"], 0)
    else:
        dialogs = await client.get_dialogs()
        chat = next(d.input_entity for d in dialogs if d.entity.id == task["channelId"])
    message = await client.get_messages(chat, ids=task["messageId"])
    digest, size = hashlib.sha256(), 0
    async for chunk in client.iter_download(message.media, request_size=512 * 1024):
        digest.update(chunk)
        size += len(chunk)
    print(
        json.dumps(
            {
                "me": str(me.id),
                "size": size,
                "sha256": digest.hexdigest(),
                "text": message.message,
                "name": message.file.name,
            }
        )
    )
    await client.disconnect()


asyncio.run(asyncio.wait_for(main(json.loads(sys.argv[1])), 100))
