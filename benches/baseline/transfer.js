// Moves one document the way the program that TeleStream replaces does it: gramjs hands out chunks
// of 1 MiB, and each is uploaded as a part before the next is asked for.
//
// The task comes as JSON in the first argument. Printed is what was moved, and in what time once
// the client was connected: {"size": ..., "seconds": ...}.
//
// gramjs ignores the session's port: it always connects to 80 or 443. Only its socket is told
// otherwise; everything above it is untouched.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");

const task = JSON.parse(process.argv[2]);
const load = createRequire(path.join(task.modules, "package.json"));
const { TelegramClient, Api } = load("telegram");
const { StringSession } = load("telegram/sessions");
const { PromisedNetSockets } = load("telegram/extensions");
const { Region, SimpleAuthenticationDetailsProvider } = load("oci-common");
const { ObjectStorageClient } = load("oci-objectstorage");

const CHUNK = 1024 * 1024;
const LINK_TTL_MS = 7 * 24 * 3600 * 1000;

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

function storageClient({ tenancy, user, fingerprint, privateKey, region, endpoint }) {
  const client = new ObjectStorageClient({
    authenticationDetailsProvider: new SimpleAuthenticationDetailsProvider(
      tenancy, user, fingerprint, privateKey, null, Region.fromRegionId(region)),
  });
  client.endpoint = endpoint;
  return client;
}

async function move(media, telegram, storage) {
  const object = {
    namespaceName: task.storage.namespace,
    bucketName: task.storage.bucket,
    objectName: task.object,
  };
  const { multipartUpload: { uploadId } } = await storage.createMultipartUpload({
    namespaceName: object.namespaceName,
    bucketName: object.bucketName,
    createMultipartUploadDetails: { object: object.objectName },
  });
  const partsToCommit = [];
  let size = 0;
  for await (const chunk of telegram.iterDownload({ file: media, requestSize: CHUNK })) {
    const partNum = partsToCommit.length + 1;
    const { eTag } = await storage.uploadPart({
      ...object,
      uploadId,
      uploadPartNum: partNum,
      uploadPartBody: chunk,
      contentLength: chunk.length,
    });
    partsToCommit.push({ partNum, etag: eTag });
    size += chunk.length;
  }
  await storage.commitMultipartUpload({
    ...object,
    uploadId,
    commitMultipartUploadDetails: { partsToCommit },
  });
  await storage.createPreauthenticatedRequest({
    namespaceName: object.namespaceName,
    bucketName: object.bucketName,
    createPreauthenticatedRequestDetails: {
      name: object.objectName,
      objectName: object.objectName,
      accessType: "ObjectRead",
      timeExpires: new Date(Date.now() + LINK_TTL_MS),
    },
  });
  return size;
}

async function main() {
  const telegram = new TelegramClient(new StringSession(sessionString()), 1, "hash", {
    connectionRetries: 2,
    networkSocket: Socket,
  });
  telegram.setLogLevel("error");
  await telegram.connect();
  const channel = new Api.InputPeerChannel({
    channelId: BigInt(task.channelId),
    accessHash: BigInt(0),
  });
  const [message] = await telegram.getMessages(channel, { ids: [task.messageId] });
  const storage = storageClient(task.storage);
  const begin = process.hrtime.bigint();
  const size = await move(message.media, telegram, storage);
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  console.log(JSON.stringify({ size, seconds }));
  await telegram.destroy();
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
