/**
 * What was used: requests, tokens and money, by key, model and day.
 * @module
 */

import {ApiError, ask} from "../lib/api.js"
import {h, say} from "../lib/dom.js"
import {number} from "../lib/format.js"
import {table} from "../components/table.js"

const EVERY = 10_000
/** @type {Record<string, string>} */
const SINCE = {"1d": "today", "7d": "the last 7 days", "30d": "the last 30 days", "": "all days"}
/** @type {Record<string, string>} */
const BY = {"key,model": "key and model", key: "key", model: "model", day: "day", "day,key,model": "day, key and model"}

export function open() {
  const since = choice("Since", SINCE), by = choice("Told apart by", BY)
  const why = h("p.quiet", {role: "status"}), holder = h("div")
  const element = h("section.page", {}, h("h1", {}, "Usage"), h("div.row", {}, since, by), holder, why)
  since.value = "30d"

  /** @type {any} */
  let shown
  let asked = 0

  function change() {
    const names = by.value.split(",")
    shown = table({label: "Usage", empty: "Nothing was used.", key: row => names.map((/** @type {string} */ name) => row[name]).join("\n"), columns: [
      ...names.map((/** @type {string} */ name) => ({title: name[0].toUpperCase() + name.slice(1), value: (/** @type {any} */ row) => row[name] || "–"})),
      {title: "Requests", value: row => number(row.requests), by: row => row.requests, figures: true},
      {title: "Estimated", value: row => number(row.estimated), by: row => row.estimated, figures: true, wide: true},
      {title: "Prompt", value: row => number(row.prompt_tokens), by: row => row.prompt_tokens, figures: true},
      {title: "Cached", value: row => number(row.cached_tokens), by: row => row.cached_tokens, figures: true, wide: true},
      {title: "Generated", value: row => number(row.completion_tokens), by: row => row.completion_tokens, figures: true},
      {title: "Cost", value: row => row.cost ? row.cost.toFixed(4) : "–", by: row => row.cost, figures: true},
    ]})
    holder.replaceChildren(shown)
    look()
  }

  async function look() {
    if (document.hidden) return
    const mine = asked += 1
    try {
      const told = await ask(`/admin/usage?by=${encodeURIComponent(by.value)}&since=${since.value}`)
      // Another choice was made meanwhile.
      if (mine !== asked) return
      shown.update(told.rows)
      const {requests, estimated, prompt_tokens: prompt, completion_tokens: generated, cost} = told.total
      say(why, `${number(requests)} requests${estimated ? `, ${number(estimated)} of them estimated` : ""}; ${number(prompt)} tokens of prompts, ${number(generated)} generated${cost ? `; ${cost.toFixed(4)} in money` : ""}. Days are those of the router's machine.`)
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      // The store says whether the router can be reached.
    }
  }

  /** @param {string} label @param {Record<string, string>} words */
  function choice(label, words) {
    return h("select", {"aria-label": label, onchange: () => change()}, Object.entries(words).map(([value, text]) => h("option", {value}, text)))
  }
  change()
  const timer = setInterval(look, EVERY)
  return {element, close: () => clearInterval(timer)}
}
