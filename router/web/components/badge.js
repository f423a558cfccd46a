/**
 * The state of something, in a word and a colour.
 * @module
 */

import {h, say} from "../lib/dom.js"

/** @type {Record<string, string>} */
const TONES = {
  up: "good", ready: "good", loaded: "good", healthy: "good", running: "good", answered: "good",
  starting: "busy", loading: "busy", waking: "busy", queued: "busy", draining: "busy", unloading: "busy", releasing: "busy", waiting: "busy", sent: "busy", answering: "good",
  stopping: "busy", stopped: "none", restarting: "busy", backoff: "warn", degraded: "warn", probation: "warn", saturated: "warn", warning: "warn",
  down: "bad", failed: "bad", unavailable: "bad", fatal: "bad", error: "bad", critical: "bad", broken: "bad",
}

/** @param {string} state @param {string} [title] more of it */
export function badge(state, title) {
  const element = h("span.badge", {})
  /** @param {string} next @param {string} [more] */
  element.update = (next, more) => {
    element.dataset.tone = TONES[next.toLowerCase()] ?? "none"
    element.title = more ?? ""
    say(element, next)
  }
  element.update(state, title)
  return element
}
