/**
 * A request as others would send it. Keys are never in it, and an image is left out.
 * @module
 */

const KEY = "YOUR_KEY"

/** @param {any} body @param {string} origin @param {boolean} keyed whether a key is needed */
export function asCurl(body, origin, keyed) {
  const json = JSON.stringify(short(body), null, 2).replaceAll("'", "'\\''")
  return [`curl -N ${origin}/v1/chat/completions`, "-H 'content-type: application/json'", keyed && `-H 'authorization: Bearer ${KEY}'`, `-d '${json}'`]
    .filter(Boolean).join(" \\\n  ")
}

/** What the request has beside the parameters that OpenAI's package knows. */
const EXTRA = new Set(["chat_template_kwargs"])

/** @param {any} body @param {string} origin @param {boolean} keyed */
export function asPython(body, origin, keyed) {
  const {stream, stream_options, ...rest} = short(body)
  const known = Object.entries(rest).filter(([name]) => !EXTRA.has(name)), extra = Object.entries(rest).filter(([name]) => EXTRA.has(name))
  const all = [...known, ["stream", true], ...(extra.length ? [["extra_body", Object.fromEntries(extra)]] : [])]
  return `from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key="${keyed ? KEY : "none"}")
stream = client.chat.completions.create(
${all.map(([name, value]) => `    ${name}=${literal(value, "    ")},`).join("\n")}
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
`
}

/** A value as Python writes it. @param {any} value @param {string} indent @returns {string} */
function literal(value, indent) {
  const deeper = `${indent}    `
  if (Array.isArray(value)) return value.length ? `[\n${value.map(each => `${deeper}${literal(each, deeper)},\n`).join("")}${indent}]` : "[]"
  if (value && typeof value === "object") return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each, indent)}`).join(", ")}}`
  return value === true ? "True" : value === false ? "False" : value === null ? "None" : JSON.stringify(value)
}

/** @param {any} value @returns {any} */
function short(value) {
  if (typeof value === "string") return value.startsWith("data:") ? `${value.slice(0, value.indexOf(",") + 1)}BASE64` : value
  if (Array.isArray(value)) return value.map(short)
  return value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([name, each]) => [name, short(each)])) : value
}
