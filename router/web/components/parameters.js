/**
 * What a request asks for besides its messages; what is left empty is the model's own.
 * @module
 */

import {h} from "../lib/dom.js"

/** @returns {any} an element; `values()` gives the request's fields, `system()` the system prompt, `update(canThink)` */
export function parameters() {
  const system = h("textarea", {rows: 3})
  const numbers = [
    ["temperature", figure("Temperature", {min: 0, max: 5, step: 0.1})], ["top_p", figure("Top p", {min: 0, max: 1, step: 0.05})],
    ["max_tokens", figure("Most tokens", {min: 1, step: 1})], ["seed", figure("Seed", {step: 1})],
  ]
  const stop = h("textarea", {rows: 1, "aria-describedby": "stop-hint"})
  const thinking = h("select", {"aria-label": "Thinking"}, [["", "as the model does"], ["on", "on"], ["off", "off"]].map(([value, text]) => h("option", {value}, text)))
  const thinks = h("label", {hidden: true}, "Thinking", thinking)
  const wide = matchMedia("(min-width: 64rem)").matches
  const element = h("details.card.parameters", {open: wide}, h("summary", {}, "Parameters"),
    h("label", {}, "System prompt", system), h("div.fields", {}, numbers.map(([, field]) => field)),
    h("label", {}, "Stop at", stop), h("p.quiet", {id: "stop-hint"}, "One text a line."), thinks)

  element.system = () => system.value.trim()
  element.values = () => {
    /** @type {Record<string, any>} */
    const values = {}
    for (const [name, field] of numbers) {
      const input = field.querySelector("input")
      if (!Number.isNaN(input.valueAsNumber) && input.checkValidity()) values[name] = input.valueAsNumber
    }
    const stops = stop.value.split("\n").filter(Boolean)
    if (stops.length) values.stop = stops
    // Chat templates have either name for it.
    if (!thinks.hidden && thinking.value) values.chat_template_kwargs = {enable_thinking: thinking.value === "on", thinking: thinking.value === "on"}
    return values
  }
  element.update = (/** @type {boolean} */ canThink) => { thinks.hidden = !canThink }
  return element
}

/** @param {string} label @param {Record<string, number>} bounds */
const figure = (label, bounds) => h("label", {}, label, h("input", {type: "number", ...bounds}))
