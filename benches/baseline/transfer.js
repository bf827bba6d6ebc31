// The method of the program that this project grew from: gramjs reads a chunk of 1 MiB, it is
// uploaded as a part, and only then comes the next.
//
//   node transfer.js TASK
//
// TASK is a JSON object; see contenders.py for what is in it.
"use strict";

const { createRequire } = require("node:module");
const path = require("node:path");

const task = JSON.parse(process.argv[2]);
const load = createRequire(path.join(task.modules, "package.json"));
const { ConfigFileAuthenticationDetailsProvider } = load("oci-common");
const { ObjectStorageClient } = load("oci-objectstorage");
const { Api, TelegramClient } = load("telegram");
const { PromisedNetSockets } = load("telegram/extensions");
const { StringSession } = load("telegram/sessions");

const home = task.session.dcs.find((dc) => dc.id === task.session.homeDc);
const [host, port] = home.ipv4.split(":");

// gramjs ignores the session's port and connects to 80 or 443.
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
  const telegram = new TelegramClient(new StringSession(sessionString()), 1, "hash", {
    networkSocket: Socket,
  });
  telegram.setLogLevel("error");
  await telegram.connect();
  const channelId = BigInt(task.channelId);
  const channel = new Api.InputPeerChannel({ channelId, accessHash: BigInt(0) });
  const [message] = await telegram.getMessages(channel, { ids: [task.messageId] });

  const authenticationDetailsProvider = new ConfigFileAuthenticationDetailsProvider(
    task.ociConfig,
    "DEFAULT",
  );
  const storage = new ObjectStorageClient({ authenticationDetailsProvider });
  storage.endpoint = task.endpoint;
  const where = { namespaceName: task.namespace, bucketName: task.bucket };
  const object = { ...where, objectName: task.object };
  const { multipartUpload } = await storage.createMultipartUpload({
    ...where,
    createMultipartUploadDetails: { object: task.object },
  });
  const { uploadId } = multipartUpload;
  const partsToCommit = [];
  for await (const chunk of telegram.iterDownload({
    file: message.media,
    requestSize: 1024 * 1024,
  })) {
    const partNum = partsToCommit.length + 1;
    const { eTag } = await storage.uploadPart({
      ...object,
      uploadId,
      uploadPartNum: partNum,
      uploadPartBody: chunk,
      contentLength: chunk.length,
    });
    partsToCommit.push({ partNum, etag: eTag });
  }
  await storage.commitMultipartUpload({
    ...object,
    uploadId,
    commitMultipartUploadDetails: { partsToCommit },
  });
  const { preauthenticatedRequest } = await storage.createPreauthenticatedRequest({
    ...where,
    createPreauthenticatedRequestDetails: {
      name: task.object,
      objectName: task.object,
      accessType: "ObjectRead",
      timeExpires: new Date(Date.now() + 7 * 24 * 3600 * 1000),
    },
  });
  console.log(task.endpoint + preauthenticatedRequest.accessUri);
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
