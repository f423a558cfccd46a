/**
 * An engine's log, its last lines and what it writes from now on.
 * @module
 */

import {ask, part} from "../lib/api.js"
import {follow} from "../lib/events.js"
import {logView} from "./log.js"

/**
 * @param {string} backend
 * @param {{tall?: boolean, keep?: (text: string) => boolean}} [options] `keep` tells which lines are shown
 * @returns {any} an element; `close()` ends it
 */
export function engineLog(backend, {tall, keep = () => true} = {}) {
  const element = logView(`Log of ${backend}`, {tall}), ending = new AbortController(), path = `/admin/backends/${part(backend)}/logs`
  const lines = (/** @type {string[]} */ texts) => texts.filter(keep).map(text => ({text}))
  ask(`${path}?limit=300`, {signal: ending.signal}).then(found => {
    element.update(lines(found.lines))
    follow(`${path}/stream`, {events: some => element.add(lines(some.map(each => each.line)))}, ending.signal)
  }, error => {
    if (!ending.signal.aborted) element.update([{text: error.message, tone: "bad"}])
  })
  element.close = () => ending.abort()
  return element
}
