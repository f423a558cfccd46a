/**
 * A block of code, with a button that copies it. It may be long, and still grow: it is kept in pieces, so that the
 * browser lays out the last one alone.
 * @module
 */

import {h} from "../lib/dom.js"
import {copyButton} from "./copy.js"

const LONGEST_PIECE = 4000

/**
 * @param {string} [language]
 * @param {string} [text]
 * @returns {any} an element; `add(text)` adds to it, and `end` is the piece that is being written
 */
export function codeBlock(language = "", text = "") {
  const code = h("code")
  const element = h("div.code", {}, h("div.row.between", {}, h("span.quiet", {}, language), copyButton(() => code.textContent, "the code")),
    h("pre", {tabindex: 0, role: "group", "aria-label": `Code${language && ` in ${language}`}`}, code))
  let last = begin(text)

  /** @param {string} first */
  function begin(first) {
    const piece = document.createTextNode(first)
    element.end = h("span.piece", {}, piece)
    code.append(element.end)
    return piece
  }

  element.add = (/** @type {string} */ more) => {
    const cut = last.length > LONGEST_PIECE ? more.indexOf("\n") : -1
    last.appendData(cut < 0 ? more : more.slice(0, cut + 1))
    if (cut >= 0) last = begin(more.slice(cut + 1))
  }
  return element
}
