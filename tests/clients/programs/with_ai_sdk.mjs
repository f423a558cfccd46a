// The Vercel AI SDK: with_ai_sdk.mjs API FEATURE URL MODEL; its last line is JSON, `text` and its number of `pieces`.
// NODE has the folder of its packages.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const installed = createRequire(process.env.NODE + "/none.js");
const load = (name) => import(pathToFileURL(installed.resolve(name)).href);

const { embedMany, generateObject, stepCountIs, streamText, tool } = await load("ai");
const { z } = await load("zod");
const [api, feature, url, model] = process.argv.slice(2);
const settings = { baseURL: url + "/v1", apiKey: "none" };

const makers = {
  "/v1/messages": async () => (await load("@ai-sdk/anthropic")).createAnthropic(settings)(model),
  "/v1/responses": async () => (await load("@ai-sdk/openai")).createOpenAI(settings).responses(model),
  "/v1/chat/completions": async () => (await load("@ai-sdk/openai")).createOpenAI(settings).chat(model),
  "/v1/chat/completions (compatible)": async () =>
    (await load("@ai-sdk/openai-compatible")).createOpenAICompatible({ name: "router", ...settings })(model),
  "/v1/embeddings": async () => (await load("@ai-sdk/openai")).createOpenAI(settings).embedding(model),
};
const made = await makers[api]();
const tools = {
  look_up: tool({
    description: "Look a word up in the book of words.",
    inputSchema: z.object({ word: z.string() }),
    execute: async ({ word }) => `${word} means ${[...word].reverse().join("")}`,
  }),
};

if (feature === "embeddings") {
  const { embeddings } = await embedMany({ model: made, values: ["a", "b"], maxRetries: 0 });
  console.log(JSON.stringify({ sizes: embeddings.map((each) => each.length) }));
} else {
  let pieces = 0;
  let failure;
  const result = streamText({
    model: made,
    system: "Be brief.",
    prompt: "What does sesame mean?",
    maxOutputTokens: 40,
    maxRetries: 0,
    stopWhen: stepCountIs(5),
    ...(feature === "tools" ? { tools } : {}),
    onError: ({ error }) => { failure = error; },
  });
  for await (const _ of result.textStream) pieces += 1;
  if (failure) throw failure;
  console.log(JSON.stringify({
    text: await result.text, pieces, reason: await result.finishReason, usage: await result.usage,
  }));
}
