// What a buyer of the market does with the official SDK. Prints what came of each call as JSON.
//
//   node market_buyer.mjs BASE_URL KEY '{"text": "model", "images": …}' RECORDING

import { createReadStream } from "node:fs";
import OpenAI from "openai";

const [baseURL, apiKey, models, recording] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 2 });
const of = JSON.parse(models);
const messages = [{ role: "user", content: "Say hello." }];

async function join(stream, read) {
  let text = "";
  for await (const event of stream) text += read(event) ?? "";
  return text;
}

const calls = {
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return ids.sort();
  },
  async chat() {
    const answer = await client.chat.completions.create({ model: of.text, messages, max_tokens: 50 });
    return [answer.choices[0].message.content, answer.usage.completion_tokens];
  },
  async chat_stream() {
    const body = { model: of.text, messages, max_tokens: 50, stream: true };
    const stream = await client.chat.completions.create(body);
    return join(stream, (chunk) => chunk.choices[0]?.delta?.content);
  },
  async completion() {
    const body = { model: of.text, prompt: "Say hello.", max_tokens: 50 };
    return (await client.completions.create(body)).choices[0].text;
  },
  async response() {
    const body = { model: of.text, input: "Say hello.", max_output_tokens: 50 };
    return (await client.responses.create(body)).output_text;
  },
  async response_stream() {
    const body = { model: of.text, input: "Say hello.", max_output_tokens: 50, stream: true };
    return join(await client.responses.create(body), (event) => event.delta);
  },
  async embedding() {
    const answer = await client.embeddings.create({ model: of.text, input: "Hello" });
    return answer.data[0].embedding;
  },
  async image() {
    const body = { model: of.images, prompt: "a cat", n: 2, size: "1024x1024" };
    return (await client.images.generate(body)).data.length;
  },
  async speech() {
    const body = { model: of.speech, voice: "alloy", input: "Hello" };
    const answer = await client.audio.speech.create(body);
    return Buffer.from(await answer.arrayBuffer()).toString();
  },
  async transcript() {
    const file = createReadStream(recording);
    return (await client.audio.transcriptions.create({ model: of.transcripts, file })).text;
  },
  async unknown_model() {
    return client.chat.completions.create({ model: "nobody-sells-it", messages });
  },
  async wrong_key() {
    const stranger = new OpenAI({ baseURL, apiKey: "inf_nobody" });
    return stranger.chat.completions.create({ model: of.text, messages });
  },
};

const told = {};
for (const [name, call] of Object.entries(calls)) {
  try {
    told[name] = await call();
  } catch (error) {
    told[name] = { error: error.constructor.name, status: error.status ?? null, code: error.code ?? null };
  }
}
console.log(JSON.stringify(told));
