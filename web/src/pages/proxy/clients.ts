/** Ready blocks for clients, by base URL and key. Pure. */

export interface Block {
  readonly name: string;
  readonly text: string;
  /** The same with the key hidden. */
  readonly shown: string;
}

const MODEL = "cheapest";

/** Returns a block for each client; `origin` is this server's. */
export function blocksFor(origin: string, apiKey: string): readonly Block[] {
  const base = `${origin}/api/current/v1`;
  const make = (name: string, write: (key: string) => string): Block => ({
    name,
    text: write(apiKey),
    shown: write("current_…"),
  });
  return [
    make(
      "curl",
      (key) =>
        `curl ${base}/chat/completions -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" \\\n` +
        `  -d '{"model": "${MODEL}", "messages": [{"role": "user", "content": "Hello"}]}'`,
    ),
    make(
      "OpenAI SDK, Python",
      (key) =>
        `from openai import OpenAI\n\nclient = OpenAI(base_url="${base}", api_key="${key}")\n` +
        `answer = client.chat.completions.create(\n    model="${MODEL}", messages=[{"role": "user", "content": "Hello"}]\n)\n` +
        "print(answer.choices[0].message.content)",
    ),
    make(
      "OpenAI SDK, JavaScript",
      (key) =>
        `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${base}", apiKey: "${key}" });\n` +
        `const answer = await client.chat.completions.create({\n  model: "${MODEL}",\n` +
        `  messages: [{ role: "user", content: "Hello" }],\n});\nconsole.log(answer.choices[0].message.content);`,
    ),
    make("Claude Code", (key) => `export ANTHROPIC_BASE_URL=${origin}/api/current\nexport ANTHROPIC_AUTH_TOKEN=${key}\nclaude`),
    make("Any tool that asks for an OpenAI address", (key) => `OPENAI_BASE_URL=${base}\nOPENAI_API_KEY=${key}`),
  ];
}
