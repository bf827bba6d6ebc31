"""Downloads one document with Kurigram and prints what came.

Kurigram checks padding, parity and order of what it gets, independently of the others. It asks
for a mebibyte at a time, on a connection of its own for files.
"""

import asyncio
import base64
import hashlib
import json
import sys

from pyrogram import Client, raw
from pyrogram.connection.transport import tcp
from pyrogram.session import Session

TRANSPORTS = {
    "full": tcp.TCPFull,
    "intermediate": tcp.TCPIntermediate,
    "padded": tcp.TCPIntermediatePadded,
    "abridged": tcp.TCPAbridged,
}
PIECE = 1024 * 1024


async def connect(client, dc, address, is_media):
    host, port = address.split(":")
    key = base64.b64decode(dc["authKey"])
    session = Session(client, dc["id"], host, int(port), key, False, is_media=is_media)
    await session.start()
    assert session.is_started.is_set(), "the session did not start"
    return session


async def main(task):
    dc = next(dc for dc in task["session"]["dcs"] if dc["id"] == task["session"]["homeDc"])
    client = Client(
        "conformance",
        api_id=1,
        api_hash="hash",
        in_memory=True,
        no_updates=True,
        protocol_factory=TRANSPORTS[task["transport"]],
    )
    await client.storage.open()
    await client.storage.api_id(1)
    main_session = await connect(client, dc, dc["ipv4"], False)
    users = await main_session.invoke(raw.functions.users.GetUsers(id=[raw.types.InputUserSelf()]))
    found = await main_session.invoke(
        raw.functions.channels.GetMessages(
            channel=raw.types.InputChannel(channel_id=task["channelId"], access_hash=0),
            id=[raw.types.InputMessageID(id=task["messageId"])],
        )
    )
    message = found.messages[0]
    document = message.media.document
    media = await connect(client, dc, task["mediaAddress"], True)
    digest, size = hashlib.sha256(), 0
    while size < document.size:
        piece = await media.invoke(
            raw.functions.upload.GetFile(
                location=raw.types.InputDocumentFileLocation(
                    id=document.id,
                    access_hash=document.access_hash,
                    file_reference=document.file_reference,
                    thumb_size="",
                ),
                offset=size,
                limit=PIECE,
            )
        )
        digest.update(piece.bytes)
        size += len(piece.bytes)
    print(
        json.dumps(
            {
                "me": str(users[0].id),
                "size": size,
                "sha256": digest.hexdigest(),
                "text": message.message,
                "name": document.attributes[0].file_name,
            }
        )
    )
    await media.stop()
    await main_session.stop()


async def limited(task):
    await asyncio.wait_for(main(task), 100)


loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(limited(json.loads(sys.argv[1])))
