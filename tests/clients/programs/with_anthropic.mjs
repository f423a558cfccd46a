// Anthropic's own library: with_anthropic.mjs API FEATURE URL MODEL; its last line is JSON, as of the others here.
// NODE has the folder of its packages.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const installed = createRequire(process.env.NODE + "/none.js");
const { default: Anthropic } = await import(pathToFileURL(installed.resolve("@anthropic-ai/sdk")).href);

const [, feature, url, model] = process.argv.slice(2);
const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const look_up = {
  name: "look_up",
  description: "Look a word up in the book of words.",
  input_schema: { type: "object", properties: { word: { type: "string" } }, required: ["word"] },
};
const messages = [{ role: "user", content: "What does sesame mean?" }];

for (;;) {
  let pieces = 0;
  let text = "";
  const stream = client.messages.stream({
    model, max_tokens: 40, system: "Be brief.", messages, ...(feature === "tools" ? { tools: [look_up] } : {}),
  });
  stream.on("text", (piece) => { pieces += 1; text += piece; });
  const { content, usage } = await stream.finalMessage();
  const calls = content.filter((block) => block.type === "tool_use");
  if (!calls.length) {
    console.log(JSON.stringify({ text, pieces, usage }));
    break;
  }
  messages.push({ role: "assistant", content });
  messages.push({
    role: "user",
    content: calls.map(({ id, input }) => ({
      type: "tool_result", tool_use_id: id, content: `${input.word} means ${[...input.word].reverse().join("")}`,
    })),
  });
}
