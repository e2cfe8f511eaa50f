// What agents' libraries do with a base URL and a key. Prints what came of it as JSON.
//
//   node agent_clients.mjs BASE_URL KEY MODEL ai-sdk|langchain

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool as langchainTool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [baseURL, apiKey, name, client] = process.argv.slice(2);
const QUESTION = "What is the weather in Lisbon?";
const weather = z.object({ city: z.string(), celsius: z.number() });
const city = z.object({ city: z.string() });
const getWeather = async ({ city }) => `21 degrees in ${city}`;
const description = "the weather in a city";

async function askAiSdk() {
  const provider = createOpenAICompatible({
    name: "current",
    baseURL,
    apiKey,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  const told = { model: provider(name), maxOutputTokens: 50, prompt: QUESTION };
  const chat = await generateText(told);
  const stream = streamText(told);
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  const usage = await stream.usage;
  const called = await generateText({
    ...told,
    tools: { get_weather: tool({ description, inputSchema: city, execute: getWeather }) },
    stopWhen: stepCountIs(2),
  });
  const structured = await generateObject({ ...told, schema: weather });
  return {
    chat: chat.text,
    stream: text,
    tokens: [usage.inputTokens, usage.outputTokens],
    tool: called.text,
    structured: structured.object,
  };
}

async function askLangchain() {
  const chat = new ChatOpenAI({
    model: name,
    apiKey,
    maxTokens: 50,
    configuration: { baseURL },
    streamUsage: true,
  });
  const answer = await chat.invoke(QUESTION);
  let text = "";
  let usage = null;
  for await (const chunk of await chat.stream(QUESTION)) {
    text += chunk.content;
    usage = chunk.usage_metadata ?? usage;
  }
  const own = langchainTool(getWeather, { name: "get_weather", description, schema: city });
  const able = chat.bindTools([own]);
  const asked = new HumanMessage(QUESTION);
  const called = await able.invoke([asked]);
  const results = [];
  for (const call of called.tool_calls) {
    results.push(new ToolMessage({ content: await own.invoke(call.args), tool_call_id: call.id }));
  }
  const final = await able.invoke([asked, called, ...results]);
  const structured = await chat.withStructuredOutput(weather, { name: "weather" }).invoke(QUESTION);
  return {
    chat: answer.content,
    stream: text,
    tokens: [usage.input_tokens, usage.output_tokens],
    tool: final.content,
    structured,
  };
}

console.log(JSON.stringify(await (client === "ai-sdk" ? askAiSdk() : askLangchain())));
process.exit(0);
