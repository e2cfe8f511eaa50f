// One call through the official SDK, as a buyer's program makes it. Prints what came of it as JSON.
//
//   node buyer.mjs BASE_URL KEY models|chat|stream '{"model": …}'

import OpenAI from "openai";

const [baseURL, apiKey, what, request] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 2 });

async function call() {
  switch (what) {
    case "models": {
      const ids = [];
      for await (const model of client.models.list()) ids.push(model.id);
      return { ids };
    }
    case "chat": {
      const completion = await client.chat.completions.create(JSON.parse(request));
      const { message } = completion.choices[0];
      return {
        text: message.content,
        tool: message.tool_calls?.[0].function ?? null,
        usage: completion.usage,
      };
    }
    case "stream": {
      const stream = await client.chat.completions.create({
        ...JSON.parse(request),
        stream: true,
        stream_options: { include_usage: true },
      });
      let text = "";
      let usage = null;
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta?.content ?? "";
        usage = chunk.usage ?? usage;
      }
      return { text, usage };
    }
  }
}

try {
  console.log(JSON.stringify(await call()));
} catch (error) {
  console.log(
    JSON.stringify({
      error: error.constructor.name,
      status: error.status ?? null,
      code: error.code ?? null,
      param: error.param ?? null,
    }),
  );
}
