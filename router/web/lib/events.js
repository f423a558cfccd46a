/**
 * Reads server-sent events by fetch: EventSource can't send a key.
 * @module
 */

import {refusal, send} from "./api.js"

/** @typedef {{id: string, kind: string, data: string}} ServerEvent */

/**
 * Give the events of a response as they come; the end of the stream ends it.
 * @param {Response} response
 * @param {(words: string) => void} [note] hears a comment before the next event
 * @returns {AsyncGenerator<ServerEvent[]>} all that came at once
 */
export async function* eventsOf(response, note) {
  const reader = /** @type {ReadableStream<BufferSource>} */ (response.body).pipeThrough(new TextDecoderStream()).getReader()
  let rest = ""
  try {
    for (;;) {
      const {done, value} = await reader.read()
      if (done) return
      const blocks = (rest + value).split(/\r?\n\r?\n/)
      rest = blocks.pop() ?? ""
      const comment = rest.split(/\r?\n/).slice(0, -1).findLast(line => line.startsWith(":"))
      if (comment) note?.(comment.slice(1).trim())
      yield blocks.map(parsed).filter(each => each.data)
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}

/** @param {string} block @returns {ServerEvent} */
function parsed(block) {
  const event = {id: "", kind: "message", data: ""}
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(":")
    if (colon < 1) continue
    const value = line.slice(colon + 1).replace(/^ /, "")
    switch (line.slice(0, colon)) {
      case "id": event.id = value; break
      case "event": event.kind = value; break
      case "data": event.data += event.data ? `\n${value}` : value
    }
  }
  return event
}

/**
 * Follow a stream of the router's, and go on where it broke off, until `signal` ends it.
 *
 * After a cut it tries again, at first at once and then ever more rarely, at most each five seconds. While nobody sees the
 * page it doesn't follow: a browser has six connections for all its tabs of one address.
 * @param {string} path
 * @param {object} hear
 * @param {(events: any[], kinds: string[]) => void} hear.events data of events that came together, and their kinds
 * @param {(error: any) => void} [hear.cut] it broke off, or was refused
 * @param {() => void} [hear.open] it is there, or there again
 * @param {AbortSignal} signal
 */
export async function follow(path, {events, cut, open}, signal) {
  let last = "", pause = 0
  while (!signal.aborted) {
    await seen(signal)
    const looking = new AbortController(), hide = () => document.hidden && looking.abort()
    document.addEventListener("visibilitychange", hide)
    try {
      const response = await send(path, {signal: AbortSignal.any([signal, looking.signal]), headers: last ? {"last-event-id": last} : {}})
      if (!response.ok) throw await refusal(response)
      open?.()
      for await (const some of eventsOf(response)) {
        pause = 0
        if (!some.length) continue
        last = some[some.length - 1].id || last
        events(some.map(each => JSON.parse(each.data)), some.map(each => each.kind))
      }
      cut?.(null)
    } catch (error) {
      if (signal.aborted) return
      if (looking.signal.aborted) continue
      cut?.(error)
    } finally {
      document.removeEventListener("visibilitychange", hide)
    }
    await new Promise(done => setTimeout(done, pause))
    pause = Math.min(5000, pause * 2 + 250)
  }
}

/** Wait until somebody sees the page. @param {AbortSignal} signal @returns {Promise<void>} */
function seen(signal) {
  return new Promise(done => {
    const look = () => {
      if (document.hidden && !signal.aborted) return
      document.removeEventListener("visibilitychange", look)
      done()
    }
    document.addEventListener("visibilitychange", look)
    signal.addEventListener("abort", look)
    look()
  })
}
