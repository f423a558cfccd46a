/**
 * What fills something: memory by model, a load by its stages.
 * @module
 */

import {fill, h} from "../lib/dom.js"

/** @typedef {{label: string, value: number, tone?: string}} Part */

/**
 * A bar of parts. It is an image to those who can't see it, with all of its parts said.
 * @param {Part[]} parts @param {number} whole @param {(value: number) => string} unit
 */
export function bar(parts, whole, unit) {
  const element = h("div.bar", {role: "img"})
  /** @param {Part[]} next @param {number} all */
  element.update = (next, all) => {
    fill(element, next.filter(each => each.value > 0).map((each, place) => h("span", {
      title: `${each.label}: ${unit(each.value)}`,
      dataset: {tone: each.tone ?? String(place % 6)},
      style: {width: `${Math.min(100, each.value / (all || 1) * 100)}%`},
    })))
    element.setAttribute("aria-label", [...next.map(each => `${each.label} ${unit(each.value)}`), `of ${unit(all)}`].join(", "))
  }
  element.update(parts, whole)
  return element
}

/** How much of a load is done. @param {number} share 0 to 1 @param {string} label */
export function progress(share, label) {
  const element = h("progress", {max: 1, value: share, "aria-label": label})
  element.update = (/** @type {number} */ next) => { element.value = next }
  return element
}
