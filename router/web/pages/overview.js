/**
 * The machine, the backends, how it goes over time; what needs attention first.
 * @module
 */

import {ApiError, ask, whole} from "../lib/api.js"
import {fill, h, keyed, say} from "../lib/dom.js"
import {bytes, clock, duration, number} from "../lib/format.js"
import {state, subscribe} from "../lib/store.js"
import {badge} from "../components/badge.js"
import {bar} from "../components/bar.js"
import {chart} from "../components/chart.js"
import {factsOf} from "../components/facts.js"
import {table} from "../components/table.js"

const HISTORY_EVERY = 5000, MOST_PROBLEMS = 12

export function open() {
  const past = new History(), attention = h("div"), devices = h("div.cards"), facts = h("dl.facts")
  const requests = chart("Requests", value => number(value, "/s")), tokens = chart("Tokens", value => number(value, "/s"))
  const ttft = chart("Time to first token", duration), waiting = chart("In flight and queued", value => number(value))
  const charts = h("div.cards", {}, [requests, tokens, ttft, waiting].map(each => h("div.card", {}, each)))
  const backends = table({
    label: "Backends", empty: "router.yaml has no backends yet.", key: row => row.name, columns: [
      {title: "Backend", value: row => row.name, show: named},
      {title: "State", value: row => row.state ?? row.health, show: (row, cell) => fill(cell, badge(row.state ?? row.health, row.reason))},
      {title: "In flight", value: row => row.in_flight, figures: true},
      {title: "TTFT p50", value: row => duration(row.speeds?.ttft_p50), by: row => row.speeds?.ttft_p50, figures: true},
      {title: "p99", value: row => duration(row.speeds?.ttft_p99), by: row => row.speeds?.ttft_p99, figures: true, wide: true},
      {title: "Tokens/s", value: row => number(speed(row)), by: speed, figures: true, wide: true},
      {title: "Answered", value: row => number(row.answered), by: row => row.answered, figures: true, wide: true},
      {title: "Memory", value: row => bytes(row.memory_bytes), by: row => row.memory_bytes, figures: true, wide: true},
      {title: "Where", value: row => row.peer ?? row.url ?? row.engine, wide: true},
    ],
  })
  const element = h("section.page", {}, h("h1", {}, "Overview"), attention, charts,
    h("h2", {}, "Memory"), devices, h("h2", {}, "Backends"), backends, h("h2", {}, "The router"), h("div.card", {}, facts))

  const unsubscribe = subscribe(() => {
    const {status, models} = state
    if (!status) return
    keyed(attention, problems(status, models), each => each.text, each => h("p.notice", {dataset: {tone: each.tone}}, each.text))
    keyed(devices, status.machine.devices, each => each.name, device)
    backends.update(status.backends)
    const {router, machine} = status
    fill(facts, factsOf(Object.entries({
      Version: router.version, "Up for": duration(router.uptime), "In flight": number(router.in_flight), Queued: number(router.queued),
      CPU: `${number(router.cpu_percent, "%")} of one; the machine ${number(machine.cpu_percent, "%")} of ${machine.cpus}`,
      Memory: bytes(router.memory_bytes), "Loop late by at most": duration(router.loop_lag), "Open files": number(router.descriptors),
      "Last reload": status.reload ? `${clock(status.reload.at)}${status.reload.problems.length ? ": not taken over" : ""}` : "none",
    })))
  })

  async function look() {
    if (document.hidden) return
    try {
      past.add(await ask(`/admin/history?since=${past.last}`))
      const {at, seconds, ended, failed, tokens: written, ttft_p50, ttft_p99, in_flight, queued} = past.series
      const span = at.length ? `the last ${duration(at[at.length - 1] - at[0] + seconds[0])}` : "nothing yet"
      const rate = (/** @type {number[]} */ counts) => counts.map((each, place) => each / seconds[place])
      requests.update([{label: "ended", values: rate(ended)}, {label: "failed", values: rate(failed)}], span)
      tokens.update([{label: "tokens", values: rate(written)}], span)
      ttft.update([{label: "p50", values: ttft_p50}, {label: "p99", values: ttft_p99}], span)
      waiting.update([{label: "in flight", values: in_flight}, {label: "queued", values: queued}], span)
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      // The store says whether the router can be reached.
    }
  }
  look()
  const timer = setInterval(look, HISTORY_EVERY)
  return {element, close: () => {
    clearInterval(timer)
    unsubscribe()
  }}
}

/** The samples of the last hour: each is asked for once. */
class History {
  /** @type {Record<string, any[]>} */
  series = {}
  last = 0

  /** @param {any} told /admin/history since `last` */
  add(told) {
    const most = Math.ceil(3600 / told.every)
    for (const [name, values] of Object.entries(told))
      if (Array.isArray(values)) this.series[name] = [...this.series[name] ?? [], ...values].slice(-most)
    this.last = this.series.at.at(-1) ?? 0
  }
}

/** @param {any} row @param {HTMLElement} cell */
function named(row, cell) {
  if (!cell.firstChild) cell.append(h("span.name"), " ", h("span.quiet"))
  say(/** @type {any} */ (cell.firstChild), row.name)
  say(/** @type {any} */ (cell.lastChild), row.drained ? "drained" : row.ending ? "ending" : "")
}

/** Tokens a second of one answer. @param {any} row */
const speed = row => row.speeds?.tpot_p50 ? 1 / row.speeds.tpot_p50 : null

/** @param {any} first */
function device(first) {
  const title = h("h3", {}), figures = h("span.quiet"), memory = bar([], 1, bytes), legend = h("p.quiet")
  const element = h("div.card", {}, h("div.row.between", {}, title, figures), memory, legend)
  element.update = (/** @type {any} */ it) => {
    const held = Object.entries(it.held).map(([label, value]) => ({label, value: /** @type {number} */ (value)}))
    const used = it.bytes - it.free, other = Math.max(0, used - held.reduce((sum, each) => sum + each.value, 0))
    say(title, it.name === "ram" ? "RAM" : it.name)
    say(figures, [it.utilisation != null && `${it.utilisation} % busy`, it.temperature != null && `${it.temperature} °C`,
      it.power != null && `${Math.round(it.power)} W${it.power_limit ? ` of ${Math.round(it.power_limit)}` : ""}`].filter(Boolean).join(" · "))
    memory.update([...held, {label: "other", value: other, tone: "other"}], it.bytes)
    say(legend, `${bytes(used)} of ${bytes(it.bytes)} used${held.length ? `: ${held.map(each => `${each.label} ${bytes(each.value)}`).join(", ")}` : ""}`)
  }
  element.update(first)
  return element
}

/** What a person should look at first. @param {any} status @param {any[]} models */
function problems(status, models) {
  const found = []
  if (status.reload?.problems.length) found.push({tone: "bad", text: `router.yaml was not taken over: ${whole(status.reload.problems[0])}`})
  for (const each of models) if (each.failure) found.push({tone: "bad", text: `${each.name}: ${each.failure.reason}`})
  for (const each of status.backends)
    if (!["up", "healthy", "ok", "asleep"].includes(each.health) && each.reason && !each.drained && !models.some(one => one.name === each.name && (one.failure || one.state === "unloaded")))
      found.push({tone: each.health === "down" ? "bad" : "warn", text: `${each.name}: ${each.health}, ${each.reason}`})
  for (const [name, queue] of Object.entries(status.queues))
    if (/** @type {any[]} */ (queue).length) found.push({tone: "warn", text: `${name}: ${queue.length} waiting, the first for ${duration(queue[0].seconds)}`})
  for (const each of status.overrides) found.push({tone: "warn", text: `${each.backend}: ${each.key} is ${each.value}, not ${each.written} as in router.yaml (by ${each.by})`})
  if (status.router.loop_lag > 0.25) found.push({tone: "warn", text: `The router was held up: requests were late by up to ${duration(status.router.loop_lag)}.`})
  for (const each of status.neighbours ?? [])
    if (!each.used_by.length) found.push({tone: "none", text: `${each.name} is another router on the network. To use it, add to backends: ${each.entry}`})
  const more = found.length - MOST_PROBLEMS
  return more > 0 ? [...found.slice(0, MOST_PROBLEMS), {tone: "warn", text: `and ${more} more`}] : found
}
