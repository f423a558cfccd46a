// OpenAI's own library: with_openai.mjs API FEATURE URL MODEL; its last line is JSON, `text` and its number of `pieces`.
// NODE has the folder of its packages.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const installed = createRequire(process.env.NODE + "/none.js");
const { default: OpenAI } = await import(pathToFileURL(installed.resolve("openai")).href);

const [api, feature, url, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none", maxRetries: 0 });
const look_up = {
  name: "look_up",
  description: "Look a word up in the book of words.",
  parameters: { type: "object", properties: { word: { type: "string" } }, required: ["word"] },
};
const lookedUp = (written) => {
  const { word } = JSON.parse(written);
  return `${word} means ${[...word].reverse().join("")}`;
};
const ask = { role: "user", content: "What does sesame mean?" };

async function chat() {
  const messages = [{ role: "system", content: "Be brief." }, ask];
  const more = feature === "tools" ? { tools: [{ type: "function", function: look_up }] } : {};
  for (;;) {
    let pieces = 0;
    const stream = client.chat.completions.stream({ model, messages, max_tokens: 40, ...more });
    stream.on("content", () => { pieces += 1; });
    const message = await stream.finalMessage();
    if (!message.tool_calls?.length) return { text: message.content, pieces };
    messages.push(message);
    for (const call of message.tool_calls)
      messages.push({ role: "tool", tool_call_id: call.id, content: lookedUp(call.function.arguments) });
  }
}

async function respond() {
  const input = [ask];
  const more = feature === "tools" ? { tools: [{ type: "function", strict: false, ...look_up }] } : {};
  for (;;) {
    let pieces = 0;
    const stream = client.responses.stream({
      model, input, instructions: "Be brief.", max_output_tokens: 40, store: false, ...more,
    });
    stream.on("response.output_text.delta", () => { pieces += 1; });
    const answer = await stream.finalResponse();
    const calls = answer.output.filter((item) => item.type === "function_call");
    if (!calls.length) return { text: answer.output_text, pieces };
    for (const { parsed_arguments: _, ...item } of answer.output) input.push(item);
    for (const call of calls)
      input.push({ type: "function_call_output", call_id: call.call_id, output: lookedUp(call.arguments) });
  }
}

if (feature === "embeddings") {
  const { data } = await client.embeddings.create({ model, input: ["a", "b"] });
  console.log(JSON.stringify({ sizes: data.map((each) => each.embedding.length) }));
} else {
  console.log(JSON.stringify(await (api === "/v1/responses" ? respond() : chat())));
}
