/**
 * What the router and its engines write, as they write it.
 * @module
 */

import {fill, h} from "../lib/dom.js"
import {clock} from "../lib/format.js"
import {onEvents, state, subscribe} from "../lib/store.js"
import {engineLog} from "../components/engine_log.js"
import {logView} from "../components/log.js"

const LEVELS = ["debug", "info", "warning", "error"]
/** @type {Record<string, string>} */
const TONES = {warning: "warn", error: "bad", critical: "bad"}

/** @param {string[]} args the engine whose log is opened; none: the router's */
export function open(args) {
  const named = args.join("/")
  const whose = h("select", {"aria-label": "Whose log", onchange: () => { location.hash = whose.value ? `#/logs/${encodeURIComponent(whose.value)}` : "#/logs" }})
  const level = h("select", {"aria-label": "Least level", onchange: draw}, LEVELS.map(each => h("option", {value: each}, each)))
  const filter = h("input.grow", {type: "search", placeholder: "Filter", "aria-label": "Show lines with", oninput: soon})
  const holder = h("div")
  const element = h("section.page", {}, h("h1", {}, "Logs"), h("div.row", {}, whose, named ? null : level, filter), holder)
  level.value = "info"

  /** @type {any} */
  let view
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer

  function soon() {
    clearTimeout(timer)
    timer = setTimeout(draw, 200)
  }

  function draw() {
    view?.close?.()
    const text = filter.value.toLowerCase(), keep = (/** @type {string} */ line) => line.toLowerCase().includes(text)
    if (named) view = engineLog(named, {tall: true, keep})
    else {
      view = logView("Log of the router", {tall: true})
      view.keep = (/** @type {any} */ event) => LEVELS.indexOf(event.level) >= LEVELS.indexOf(level.value) && keep(written(event))
      requestAnimationFrame(() => view.update([...state.events].reverse().filter(view.keep).map(line)))
    }
    fill(holder, view)
  }
  draw()

  const unhear = named ? () => {} : onEvents(events => view.add(events.filter(view.keep).map(line)))
  const unsubscribe = subscribe(() => {
    const names = (state.status?.backends ?? []).filter((/** @type {any} */ each) => each.engine || each.peer).map((/** @type {any} */ each) => each.name)
    if (named && !names.includes(named)) names.push(named)
    const all = ["", ...names].join()
    if (whose.dataset.names === all) return
    whose.dataset.names = all
    fill(whose, h("option", {value: ""}, "the router"), names.map((/** @type {string} */ each) => h("option", {value: each}, each)))
    whose.value = named
    // What came before the page was open is there now.
    if (!named) draw()
  })
  return {element, close: () => {
    clearTimeout(timer)
    unhear()
    unsubscribe()
    view.close?.()
  }}
}

/** @param {any} event */
const written = event => [clock(event.at), event.level === "info" ? "" : event.level, event.message, ...Object.entries(event.details ?? {}).map(([name, value]) => `${name}=${value}`)].filter(Boolean).join("  ")

/** @param {any} event */
const line = event => ({text: (event.missed ? `(${event.missed} lines are missing here)\n` : "") + written(event), tone: TONES[event.level]})
