"""Prints where the document of a message is to be had: {"id", "accessHash", "fileReference"}.

For clients that are too old for the messages of today, but not for their files.
"""

import asyncio
import base64
import json
import sys

from connected import connect


async def main(task):
    client, message = await connect(task)
    document = message.document
    await client.disconnect()
    location = {
        "id": document.id,
        "accessHash": document.access_hash,
        "fileReference": base64.b64encode(document.file_reference).decode(),
    }
    print(json.dumps(location))


asyncio.run(main(json.loads(sys.argv[1])))
