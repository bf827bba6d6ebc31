// A bot as its author would write it with telegraf; what it gets back from the Bot API it tells its
// users. It fetches updates, or takes them from a webhook, as the task says, until it is killed.
"use strict";

const http = require("node:http");
const { createRequire } = require("node:module");
const path = require("node:path");

const task = JSON.parse(process.argv[2]);
const load = createRequire(path.join(task.folder, "telegraf", "package.json"));
const { Markup, Telegraf, TelegramError } = load("telegraf");
const { message } = load("telegraf/filters");

const bot = new Telegraf(task.token, { telegram: { apiRoot: task.url } });
const buttons = Markup.inlineKeyboard([
  [Markup.button.callback("Press", "press:1"), Markup.button.url("Open", "https://example.org/")],
]);

/** What a call is refused with. */
async function refusal(call) {
  try {
    await call();
    return "nothing";
  } catch (error) {
    if (!(error instanceof TelegramError)) throw error;
    return error;
  }
}

bot.start((ctx) => ctx.replyWithHTML(`Hello, <b>${ctx.from.first_name}</b>`, buttons));

bot.command("edit", async (ctx) => {
  const sent = await ctx.reply("one");
  const edit = (text) => ctx.telegram.editMessageText(ctx.chat.id, sent.message_id, undefined, text);
  const edited = await edit("two");
  const refused = await refusal(() => edit("two"));
  await ctx.reply(`${edited.text}: ${refused.code} ${refused.description}`);
});

bot.command("flood", async (ctx) => {
  const refused = await refusal(() => ctx.reply("too much"));
  const wait = refused.parameters.retry_after;
  await new Promise((resolve) => setTimeout(resolve, wait * 1000));
  await ctx.reply(`${refused.code} ${wait}`);
});

bot.action("press:1", async (ctx) => {
  await ctx.answerCbQuery("Pressed", { show_alert: true });
  await ctx.editMessageText(`pressed by ${ctx.from.id}`);
});

bot.on(message("document"), async (ctx) => {
  const forwarded = await ctx.forwardMessage(task.channel);
  const same = forwarded.document.file_unique_id === ctx.message.document.file_unique_id;
  const copied = await ctx.copyMessage(task.channel, { caption: "a copy" });
  const content = Buffer.from(
    await (await fetch(await ctx.telegram.getFileLink(forwarded.document.file_id))).arrayBuffer(),
  );
  await ctx.reply(
    `${ctx.message.document.file_name} ${forwarded.message_id} ${copied.message_id} ${same} ${content.length}`,
    { reply_parameters: { message_id: ctx.message.message_id } },
  );
});

bot.on("my_chat_member", (ctx) => {
  const { status } = ctx.myChatMember.new_chat_member;
  return ctx.telegram.sendMessage(task.channel, `now ${status}`);
});

async function main() {
  await bot.telegram.setMyCommands([{ command: "start", description: "Begin" }]);
  if (!task.webhook) {
    await bot.launch();
    return;
  }
  bot.botInfo = await bot.telegram.getMe();
  const callback = bot.webhookCallback(task.webhook.path, { secretToken: task.webhook.secret });
  const server = http.createServer(callback);
  server.listen(0, "127.0.0.1", () => {
    const url = `http://127.0.0.1:${server.address().port}${task.webhook.path}`;
    bot.telegram.setWebhook(url, { secret_token: task.webhook.secret }).catch(fail);
  });
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

bot.catch(fail);
main().catch(fail);
