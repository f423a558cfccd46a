/**
 * One request: what came when, and why it went where it went.
 * @module
 */

import {ask, part} from "../lib/api.js"
import {fill, h} from "../lib/dom.js"
import {bytes, duration, moment, number} from "../lib/format.js"
import {badge} from "./badge.js"
import {factsOf} from "./facts.js"
import {table} from "./table.js"

/**
 * @param {string} id
 * @param {string} back where its closing leads
 * @returns {any} an element; `close()` ends it
 */
export function requestDetails(id, back) {
  const body = h("div.page")
  const element = h("section.card", {"aria-label": `Request ${id}`}, h("div.row.between", {}, h("h2", {}, `Request ${id}`), h("a", {href: back}, "Close")), body)
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer
  let closed = false

  async function look() {
    try {
      const it = await ask(`/admin/requests/${part(id)}`)
      fill(body, facts(it), way(it), it.attempts.map(why))
      if (!closed && it.under_way) timer = setTimeout(look, 1000)
    } catch (error) {
      fill(body, h("p.empty", {}, /** @type {Error} */ (error).message))
    }
  }
  look()
  element.close = () => {
    closed = true
    clearTimeout(timer)
  }
  return element
}

/** @param {any} it */
function facts(it) {
  const one = it.ended ?? it.under_way
  return h("dl.facts", {}, factsOf([
    ["Came", moment(it.at)], ["Asked for", `${one.model} by ${one.path}`], one.key && ["Key", one.key], one.client && ["From", one.client], [it.ended ? "Sent to it" : "Its body", bytes(one.bytes)],
    ["Outcome", it.ended ? `${it.ended.outcome} (${it.ended.status})` : one.state],
    one.prompt_tokens != null && ["Prompt", `${number(one.prompt_tokens)} tokens, ${number(one.cached_tokens ?? 0)} of them cached${one.prompt_tokens_per_second ? `, ${number(one.prompt_tokens_per_second)} read a second` : ""}`],
    one.tokens != null && ["Answer", `${number(one.tokens)} tokens${one.tokens_per_second ? `, ${number(one.tokens_per_second)} a second` : ""}${one.finish_reason ? `, ${one.finish_reason}` : ""}`],
  ]))
}

/** What it waited for and where it was, one below the other on one scale of time. @param {any} it */
function way(it) {
  const until = it.ended?.duration ?? it.under_way.age
  const lines = [
    ...it.waits.map((/** @type {any} */ each) => ({
      name: each.loading || each.backend ? `waited, ${duration(each.loading)} of it for the load of ${each.backend}` : "waited in the queue",
      parts: [{from: each.begun, to: each.ended ?? until, tone: "other"}],
    })),
    ...it.attempts.map((/** @type {any} */ each) => {
      const end = each.ended ?? until, first = Math.min(each.first_byte ?? end, end)
      return {name: `${each.backend}${each.beside ? ", beside the one before" : ""}: ${each.outcome || "under way"}`,
        parts: [{from: each.begun, to: first, tone: "3"}, {from: first, to: end, tone: "1"}]}
    }),
  ].sort((one, other) => one.parts[0].from - other.parts[0].from)
  return h("div", {}, h("h3", {}, "Its way"), h("p.quiet", {}, `Amber: reading the prompt${it.prefill != null ? `, ${duration(it.prefill)}` : ""}. Green: writing the answer${it.stream != null ? `, ${duration(it.stream)}` : ""}. Grey: waiting.`),
    h("ol.way", {}, lines.map(({name, parts}) => h("li", {}, h("div.row.between", {}, h("span", {}, name), h("span.quiet", {}, `${duration(parts[0].from)} to ${duration(parts[parts.length - 1].to)}`)),
      h("div.track", {"aria-hidden": "true"}, parts.map((/** @type {any} */ each) => h("span", {dataset: {tone: each.tone}, style: {left: share(each.from, until), width: share(each.to - each.from, until)}})))))))
}

/** @param {number} value @param {number} whole */
const share = (value, whole) => `${whole ? Math.max(0, Math.min(100, value / whole * 100)) : 0}%`

/** @param {any} attempt @param {number} place */
function why(attempt, place) {
  const compared = table({label: `What was compared for attempt ${place + 1}`, key: row => `${row.backend} ${row.tier}`, columns: [
    {title: "Backend", value: row => row.backend, show: (row, cell) => fill(cell, row.backend === attempt.backend ? h("strong", {}, row.backend) : row.backend)},
    {title: "Passed over", value: row => row.passed_over || "–", show: (row, cell) => fill(cell, row.passed_over ? row.passed_over : badge("could take it"))},
    {title: "Score", value: row => duration(row.score), by: row => row.score, figures: true},
    {title: "Expected", value: row => duration(row.expected), by: row => row.expected, figures: true, wide: true},
    {title: "Queue", value: row => duration(row.queue), by: row => row.queue, figures: true, wide: true},
    {title: "Reading", value: row => duration(row.reading), by: row => row.reading, figures: true, wide: true},
    {title: "Cached", value: row => row.cached == null ? "–" : bytes(row.cached), by: row => row.cached, figures: true},
    {title: "In flight", value: row => number(row.in_flight), by: row => row.in_flight, figures: true},
  ]})
  compared.update(attempt.candidates)
  return h("div", {}, h("h3", {}, `Why ${attempt.backend}`), h("p", {}, attempt.why), attempt.candidates.length > 0 && compared,
    attempt.left_out > 0 && h("p.quiet", {}, `${number(attempt.left_out)} more are left out.`))
}
