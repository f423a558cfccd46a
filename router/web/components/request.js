/**
 * One request: what came when, and why it went where it went.
 * @module
 */

import {ask, part} from "../lib/api.js"
import {fill, h} from "../lib/dom.js"
import {duration} from "../lib/format.js"

/**
 * @param {string} id
 * @param {string} back where its closing leads
 * @returns {any} an element; `close()` ends it
 */
export function requestDetails(id, back) {
  const body = h("div", {"aria-live": "polite"})
  const element = h("section.card", {"aria-label": `Request ${id}`}, h("div.row.between", {}, h("h2", {}, `Request ${id}`), h("a", {href: back}, "Close")), body)
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer
  let closed = false

  async function look() {
    try {
      const it = await ask(`/admin/requests/${part(id)}`)
      fill(body, h("pre", {}, JSON.stringify(it, null, 2)))
      if (!closed && !it.ended) timer = setTimeout(look, 1000)
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
