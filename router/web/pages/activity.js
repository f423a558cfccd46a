/**
 * The requests: those under way, which can be ended, and the latest that ended; and how one of them went.
 * @module
 */

import {ApiError, act, ask, part} from "../lib/api.js"
import {h} from "../lib/dom.js"
import {bytes, clock, duration, number} from "../lib/format.js"
import {may} from "../lib/store.js"
import {badge} from "../components/badge.js"
import {told} from "../components/dialog.js"
import {requestDetails} from "../components/request.js"
import {table} from "../components/table.js"

const EVERY = 1000, MOST = 2000, AT_FIRST = 100

/** @type {any[]} the latest that have ended, the last one first: kept while the page is open elsewhere */
let recent = []
/** @type {number | null} the number of the last one that is known to have ended */
let known = null

/** @param {string[]} args the id of the request that is opened, if one is */
export function open(args) {
  const chosen = args.join("/")
  const address = (/** @type {any} */ row) => `#/activity/${part(row.id)}`
  const filter = h("input.grow", {type: "search", placeholder: "Filter by model, key, backend, outcome, id", "aria-label": "Filter requests", oninput: () => draw()})
  const failed = h("input", {type: "checkbox", onchange: () => draw()})
  const fluid = {onopen: (/** @type {any} */ row) => { location.hash = address(row) }, key: (/** @type {any} */ row) => `${row.number ?? row.id}`}
  const id = {title: "Request", value: (/** @type {any} */ row) => row.id, show: (/** @type {any} */ row, /** @type {HTMLElement} */ cell) => {
    if (!cell.firstChild) cell.append(h("a", {href: address(row)}, row.id.length > 12 ? `…${row.id.slice(-8)}` : row.id))
  }}
  const whose = [
    {title: "Model", value: (/** @type {any} */ row) => row.model}, {title: "Key", value: (/** @type {any} */ row) => row.key || "–", wide: true},
    {title: "Backend", value: (/** @type {any} */ row) => row.backend, wide: true},
  ]
  const now = table({label: "Requests under way", empty: "No request is under way.", ...fluid, columns: [
    id, ...whose,
    {title: "State", value: row => row.state, show: (row, cell) => {
      cell.replaceChildren(badge(row.state), row.ahead != null ? h("span.quiet", {}, ` ${row.ahead} ahead`) : "")
    }},
    {title: "Age", value: row => duration(row.age), by: row => row.age, figures: true},
    {title: "TTFT", value: row => duration(row.ttft), by: row => row.ttft, figures: true, wide: true},
    {title: "Tokens", value: row => number(row.tokens), by: row => row.tokens, figures: true},
    {title: "Tokens/s", value: row => number(row.tokens_per_second), by: row => row.tokens_per_second, figures: true, wide: true},
    {title: "", said: "Lever", value: () => "", show: (row, cell) => {
      if (!cell.firstChild) cell.append(h("button.small.danger", {type: "button", disabled: !may("manage"), "aria-label": `Cancel ${row.id}`, onclick: async () => {
        await told(act(`/admin/requests/${part(row.id)}/cancel`))
        look()
      }}, "Cancel"))
    }},
  ]})
  const ended = table({label: "Requests that have ended", empty: "None that matches.", ...fluid, columns: [
    {title: "At", value: row => clock(row.at), by: row => row.at}, id, ...whose,
    {title: "Outcome", value: row => row.outcome, show: (row, cell) => cell.replaceChildren(...outcome(row))},
    {title: "TTFT", value: row => duration(row.ttft), by: row => row.ttft, figures: true},
    {title: "Whole", value: row => duration(row.duration), by: row => row.duration, figures: true},
    {title: "Prompt", value: row => row.prompt_tokens == null ? "–" : number(row.prompt_tokens) + (row.cached_tokens ? ` (${number(row.cached_tokens)} cached)` : ""), by: row => row.prompt_tokens, figures: true, wide: true},
    {title: "Tokens", value: row => number(row.tokens), by: row => row.tokens, figures: true},
    {title: "Tokens/s", value: row => number(row.tokens_per_second), by: row => row.tokens_per_second, figures: true, wide: true},
  ]})
  const shown = chosen ? requestDetails(chosen, "#/activity") : null
  let shownMost = AT_FIRST
  const count = h("span.quiet"), more = h("button", {type: "button", onclick: () => {
    shownMost += 5 * AT_FIRST
    draw()
  }}, "Show more")
  const element = h("section.page", {}, h("h1", {}, "Activity"), shown, h("h2", {}, "Under way"), now,
    h("div.row.between", {}, h("h2", {}, "Ended ", count), h("button.small", {type: "button", onclick: () => save(matching())}, "CSV")),
    h("div.row", {}, filter, h("label.inline", {}, failed, "Only what failed")), ended, h("div", {}, more))

  function matching() {
    const text = filter.value.toLowerCase()
    return recent.filter(each => (!failed.checked || wentWrong(each)) &&
      (!text || [each.id, each.model, each.key, each.backend ?? "", each.outcome, each.path].some(one => one.toLowerCase().includes(text))))
  }
  const draw = () => {
    const found = matching()
    count.textContent = `${number(found.length)} of ${number(recent.length)}`
    ended.update(found.slice(0, shownMost))
    more.hidden = found.length <= shownMost
  }

  async function look() {
    if (document.hidden) return
    try {
      now.update((await ask("/admin/requests")).requests)
      await catchUp()
      draw()
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      // The store says whether the router can be reached.
    }
  }
  look()
  const timer = setInterval(look, EVERY)
  return {element, close: () => {
    clearInterval(timer)
    shown?.close()
  }}
}

/** @param {any} row */
const wentWrong = row => row.outcome !== "answered" || row.status >= 400

/** @param {any} row */
function outcome(row) {
  const said = row.outcome === "answered" ? `the backend answered ${row.status}` : row.outcome
  return wentWrong(row) ? [badge(row.status === 499 ? "left" : "failed", said), h("div.quiet", {}, said)] : [badge("answered")]
}

async function catchUp() {
  const {last, missed, requests} = await ask(`/admin/requests/recent?limit=${MOST}${known == null ? "" : `&after=${known}`}`)
  // Behind a gap, what came before it isn't what came last.
  recent = (missed ? requests : [...requests, ...recent]).slice(0, MOST)
  known = last
}

const COLUMNS = ["at", "id", "path", "model", "key", "client", "backend", "status", "outcome", "attempts", "duration", "queued", "ttft", "prompt_tokens", "cached_tokens", "tokens", "tokens_per_second", "finish_reason", "bytes"]

/** @param {any[]} rows */
function save(rows) {
  const text = [COLUMNS, ...rows.map(row => COLUMNS.map(name => row[name] ?? ""))].map(line => line.map(field).join(",")).join("\r\n")
  const link = h("a", {href: URL.createObjectURL(new Blob([text], {type: "text/csv"})), download: "requests.csv"})
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

/** A field of CSV; what a spreadsheet would run as a formula is text. @param {any} value */
function field(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
