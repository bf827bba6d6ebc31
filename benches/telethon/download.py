"""Downloads one document with Telethon's own iter_download and throws it away.

The task comes as JSON in the first argument. Printed is what was moved, and in what time once the
client was connected: {"bytes": ..., "seconds": ...}.
"""

import asyncio
import json
import sys
import time

import cryptg  # noqa: F401 (Telethon's fast cipher: without it this would measure Python)
from connected import connect

PIECE = 512 * 1024


async def main(task):
    client, message = await connect(task)
    begin, size = time.monotonic(), 0
    async for chunk in client.iter_download(message.media, request_size=PIECE):
        size += len(chunk)
    seconds = time.monotonic() - begin
    await client.disconnect()
    print(json.dumps({"bytes": size, "seconds": seconds}))


asyncio.run(main(json.loads(sys.argv[1])))
