/**
 * Lines as they come: bounded, and followed for as long as the reader is at their end.
 * @module
 */

import {h} from "../lib/dom.js"

const MOST = 1000

/** @typedef {{text: string, tone?: string, title?: string}} Line */

/**
 * @param {string} label
 * @param {{tall?: boolean}} [options]
 * @returns {any} an element; `add(lines)` adds at the end, `update(lines)` replaces all
 */
export function logView(label, {tall = false} = {}) {
  const element = h(`div.log${tall ? ".tall" : ""}`, {tabindex: 0, role: "log", "aria-label": label, "aria-live": "off"})
  const atEnd = () => element.scrollHeight - element.scrollTop - element.clientHeight < 40
  /** @param {Line[]} lines */
  element.add = lines => {
    if (!lines.length) return
    const follow = atEnd()
    element.append(...lines.slice(-MOST).map(each => h("div", {dataset: {tone: each.tone ?? "none"}, title: each.title ?? ""}, each.text || "\u00a0")))
    while (element.childElementCount > MOST) element.firstChild.remove()
    if (follow) element.scrollTop = element.scrollHeight
  }
  /** @param {Line[]} lines */
  element.update = lines => {
    element.replaceChildren()
    element.add(lines)
    element.scrollTop = element.scrollHeight
  }
  return element
}
