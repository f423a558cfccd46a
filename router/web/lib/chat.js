/**
 * Asks a model, and hears its answer as it is written.
 * @module
 */

import {ApiError, refusal, send} from "./api.js"
import {eventsOf} from "./events.js"

const BROKEN = "The answer broke off."
/** Milliseconds of reading after which the page gets its turn. */
const TURN = 16

/** @typedef {{role: string, content: any}} Message */

/**
 * What is known of an answer when it has ended; times in seconds.
 * @typedef {object} Figures
 * @property {number | null} ttft to the first text, thoughts included
 * @property {number} seconds to the end
 * @property {number | null} speed tokens a second, from the first one on
 * @property {any} usage as the engine counted; null: it told nothing
 * @property {string} finish why it ended
 * @property {string} backend who answered
 */

/**
 * @param {any} body the request's, with `stream`
 * @param {(text: string, thought: string) => void} hear what is new of the answer, and of the reasoning before it
 * @param {AbortSignal} signal
 * @param {(words: string) => void} [note] what the router says while it waits: its place in the queue, how far a load is
 * @returns {Promise<Figures>} raises ApiError, or what `signal` says
 */
export async function chat(body, hear, signal, note) {
  const began = performance.now(), since = (/** @type {number} */ from) => (performance.now() - from) / 1000
  const response = await send("/v1/chat/completions", {json: body, signal})
  if (!response.ok) throw await refusal(response)
  /** @type {Figures} */
  const figures = {ttft: null, seconds: 0, speed: null, usage: null, finish: "", backend: response.headers.get("x-router-backend") ?? ""}
  let first = 0, pieces = 0, turn = performance.now()
  for await (const events of unbroken(eventsOf(response, note), signal)) {
    let text = "", thought = ""
    for (const {data} of events) {
      if (data === "[DONE]") continue
      const {choices: [choice] = [], usage, error} = read(data)
      if (error) throw new ApiError(error.message ?? String(error), response.status, error)
      const delta = choice?.delta
      text += delta?.content ?? ""
      thought += delta?.reasoning_content ?? delta?.reasoning ?? ""
      pieces += delta?.content || delta?.reasoning_content || delta?.reasoning ? 1 : 0
      figures.finish = choice?.finish_reason ?? figures.finish
      figures.usage = usage ?? figures.usage
    }
    if ((text || thought) && figures.ttft === null) {
      figures.ttft = since(began)
      first = performance.now()
    }
    if (text || thought) hear(text, thought)
    if (performance.now() - turn > TURN) {
      await new Promise(done => setTimeout(done))
      turn = performance.now()
    }
    figures.seconds = since(began)
    const tokens = figures.usage?.completion_tokens ?? pieces
    figures.speed = first && tokens > 1 ? (tokens - 1) / Math.max(0.001, figures.seconds - (figures.ttft ?? 0)) : null
  }
  if (!figures.finish) throw new ApiError(BROKEN, 0)
  return figures
}

/** Say in our words that the connection was lost: browsers have few. @template T @param {AsyncIterable<T>} events @param {AbortSignal} signal */
async function* unbroken(events, signal) {
  try {
    yield* events
  } catch (error) {
    throw signal.aborted ? error : new ApiError(BROKEN, 0)
  }
}

/** @param {string} data @returns {any} */
function read(data) {
  try {
    return JSON.parse(data)
  } catch {
    throw new ApiError(`This isn't an answer's event: ${data.slice(0, 200)}`, 200)
  }
}
