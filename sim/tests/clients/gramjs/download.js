// Downloads one document with gramjs, exactly as a program using it would, and prints what came.
//
// gramjs ignores the session's port: it always connects to 80 or 443. Only its socket is told
// otherwise; everything above it is untouched.
"use strict";

const { createHash } = require("node:crypto");
const { createRequire } = require("node:module");
const path = require("node:path");

const task = JSON.parse(process.argv[2]);
const load = createRequire(path.join(task.folder, "gramjs", "package.json"));
const { TelegramClient, Api } = load("telegram");
const { StringSession } = load("telegram/sessions");
const { PromisedNetSockets } = load("telegram/extensions");

const home = task.session.dcs.find((dc) => dc.id === task.session.homeDc);
const [host, port] = home.ipv4.split(":");

class Socket extends PromisedNetSockets {
  connect() {
    return super.connect(Number(port), host);
  }
}

function sessionString() {
  const address = Buffer.from(host);
  const head = Buffer.alloc(3);
  head.writeUInt8(home.id, 0);
  head.writeInt16BE(address.length, 1);
  const portField = Buffer.alloc(2);
  portField.writeInt16BE(443, 0);
  const key = Buffer.from(home.authKey, "base64");
  return "1" + Buffer.concat([head, address, portField, key]).toString("base64");
}

async function main() {
  const client = new TelegramClient(new StringSession(sessionString()), 1, "hash", {
    connectionRetries: 2,
    networkSocket: Socket,
  });
  client.setLogLevel("error");
  await client.connect();
  const me = await client.getMe();
  const channel = new Api.InputPeerChannel({
    channelId: BigInt(task.channelId),
    accessHash: BigInt(0),
  });
  const [message] = await client.getMessages(channel, { ids: [task.messageId] });
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of client.iterDownload({
    file: message.media,
    requestSize: 512 * 1024,
  })) {
    hash.update(chunk);
    size += chunk.length;
  }
  console.log(JSON.stringify({
    me: String(me.id),
    size,
    sha256: hash.digest("hex"),
    text: message.message,
    name: message.file?.name,
  }));
  await client.destroy();
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
