/**
 * What is known of the router, in one place: every page shows this, and asks for more only if it needs more.
 *
 * The state is asked for every two seconds while somebody looks, and a moment after an event says that something has
 * changed. Where the router went away, it is tried again until it is back; then all is asked for anew.
 * @module
 */

import {ApiError, ask} from "./api.js"
import {follow} from "./events.js"

/**
 * @typedef {object} State
 * @property {"connecting" | "open" | "lost" | "denied"} connection
 * @property {string} error why it is lost or denied
 * @property {any} status /admin/status
 * @property {any[]} models /admin/models
 * @property {{name: string, scopes: string[]}} me who looks
 * @property {any[]} events the latest, the last one first
 */

const EVERY = 2000, SOON = 250, APART = 1000, MOST_EVENTS = 500

/** @type {State} */
export const state = {connection: "connecting", error: "", status: null, models: [], me: {name: "", scopes: []}, events: []}

/** @type {Set<() => void>} */
const listeners = new Set()
/** @type {Set<(events: any[]) => void>} */
const hearers = new Set()

/** Hear of each change, and at once. @param {() => void} listener @returns {() => void} to hear no more */
export function subscribe(listener) {
  listeners.add(listener)
  listener()
  return () => listeners.delete(listener)
}

/** Hear of events as they come. @param {(events: any[]) => void} hearer @returns {() => void} to hear no more */
export function onEvents(hearer) {
  hearers.add(hearer)
  return () => hearers.delete(hearer)
}

/** Whether the key may do what is asked for. @param {"read" | "manage" | "configure"} scope */
export const may = scope => state.me.scopes.includes(scope)

let drawing = false

/** @param {Partial<State>} news */
function change(news) {
  Object.assign(state, news)
  if (drawing) return
  drawing = true
  requestAnimationFrame(() => {
    drawing = false
    for (const each of listeners) each()
  })
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer
let asking = false, askedAt = 0

/** Ask for the state, soon: what changes at once is asked for once. */
export function refresh() {
  plan(Math.max(SOON, askedAt + APART - Date.now()))
}

/** @param {number} pause */
function plan(pause) {
  clearTimeout(timer)
  timer = setTimeout(look, pause)
}

async function look() {
  if (asking || document.hidden) return
  asking = true
  askedAt = Date.now()
  try {
    const [status, models] = await Promise.all([ask("/admin/status"), ask("/admin/models")])
    change({connection: "open", error: "", status, models: models.models})
  } catch (error) {
    fail(error)
  } finally {
    asking = false
    plan(EVERY)
  }
}

/** @param {any} error */
function fail(error) {
  const denied = error instanceof ApiError && (error.status === 401 || error.status === 403)
  change({connection: denied ? "denied" : "lost", error: error.message})
}

/** @type {AbortController | undefined} */
let following

/** Begin, or begin again with another key. */
export async function start() {
  following?.abort()
  following = new AbortController()
  change({connection: "connecting", error: ""})
  document.addEventListener("visibilitychange", look)
  try {
    change({me: await ask("/admin/whoami")})
  } catch (error) {
    fail(error)
    if (state.connection === "denied") return
  }
  look()
  follow("/admin/events?every=0.4", {events: hear, open: back, cut: error => error && fail(error)}, following.signal)
}

async function back() {
  refresh()
  try {
    // What happened before this page was open, or while the router was away.
    const {events} = await ask("/admin/logs?limit=200")
    const known = new Set(state.events.map(each => each.id))
    keep(events.filter((/** @type {any} */ each) => !known.has(each.id)))
    change({me: await ask("/admin/whoami")})
  } catch (error) {
    fail(error)
  }
}

/** @param {any[]} events */
function hear(events) {
  keep(events)
  for (const each of hearers) each(events)
  if (events.some(each => each.kind !== "request" && each.kind !== "log")) refresh()
}

/** @param {any[]} events */
function keep(events) {
  change({events: [...events].reverse().concat(state.events).slice(0, MOST_EVENTS)})
}
