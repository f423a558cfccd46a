/**
 * A text area for code: its lines have numbers, and marks where something is wrong.
 * @module
 */

import {fill, h} from "../lib/dom.js"

/** @typedef {{line: number, column: number | null, message: string}} Mark */

/**
 * @param {string} label
 * @param {{oninput: () => void, described: string}} options `described` is the id of what tells its problems
 * @returns {any} an element; `value` is its text, `mark(marks)` shows what is wrong, `go(line, column)` puts the cursor there
 */
export function editor(label, {oninput, described}) {
  const numbers = h("pre.numbers", {"aria-hidden": "true"}), marks = h("div.marks", {"aria-hidden": "true"})
  const area = h("textarea.code", {"aria-label": label, "aria-describedby": described, autocapitalize: "off", autocomplete: "off", wrap: "off",
    oninput: () => {
      count()
      oninput()
    }, onscroll: follow, onkeydown: typed})
  area.spellcheck = false
  const ground = h("div.ground", {"aria-hidden": "true"}, marks)
  const element = h("div.editor", {}, h("div.gutter", {"aria-hidden": "true"}, numbers), h("div.sheet", {}, ground, area))
  let counted = 0
  /** @type {Map<number, Mark>} */
  let wrong = new Map()

  Object.defineProperty(element, "value", {get: () => area.value, set: text => {
    area.value = text
    count()
  }})
  Object.defineProperty(element, "readOnly", {set: is => { area.readOnly = is }})

  function count() {
    const lines = area.value.split("\n").length
    if (lines !== counted) draw(lines)
  }

  /** @param {number} lines */
  function draw(lines) {
    counted = lines
    const wide = String(lines).length
    element.style.setProperty("--digits", Math.max(2, wide))
    /** @type {(Node | string)[]} */
    const parts = []
    for (let line = 1; line <= lines; line += 1) {
      const text = String(line).padStart(wide)
      if (wrong.has(line)) parts.push(h("span", {title: wrong.get(line)?.message}, text), "\n")
      else parts.push(`${text}\n`)
    }
    fill(numbers, parts)
    follow()
  }

  function follow() {
    marks.style.transform = `translate(${-area.scrollLeft}px, ${-area.scrollTop}px)`
    numbers.style.transform = `translateY(${-area.scrollTop}px)`
  }

  element.mark = (/** @type {Mark[]} */ next) => {
    wrong = new Map(next.map(each => [each.line, each]))
    const lines = area.value.split("\n")
    area.setAttribute("aria-invalid", String(next.length > 0))
    draw(lines.length)
    fill(marks, next.filter(each => each.line <= lines.length).map(({line, column}) => {
      const text = lines[line - 1], start = Math.max(0, (column ?? 1) - 1), word = /^[^\s,:\]}]+/.exec(text.slice(start))?.[0] ?? text.slice(start)
      const mark = h("div.mark", {}, h("span", {}, text.slice(0, start)), h("u", {}, word || " "))
      mark.style.setProperty("--line", line)
      return mark
    }))
  }

  element.go = (/** @type {number} */ line, /** @type {number | null} */ column) => {
    const lines = area.value.split("\n"), before = lines.slice(0, line - 1).reduce((/** @type {number} */ sum, /** @type {string} */ each) => sum + each.length + 1, 0)
    const place = Math.min(area.value.length, before + Math.max(0, (column ?? 1) - 1))
    area.focus()
    area.setSelectionRange(place, place)
    const high = area.scrollHeight / Math.max(1, lines.length)
    area.scrollTop = Math.max(0, (line - 1) * high - area.clientHeight / 2)
    area.scrollLeft = 0
  }

  /** Tab leaves, as everywhere; the next line begins where this one does. @param {KeyboardEvent} event */
  function typed(event) {
    if (event.key !== "Enter" || event.isComposing || event.ctrlKey || event.metaKey || event.altKey || area.readOnly) return
    const before = area.value.slice(0, area.selectionStart), line = before.slice(before.lastIndexOf("\n") + 1)
    const indent = /^ *(?:- (?=\S.*:))?/.exec(line)?.[0].replace("-", " ") ?? ""
    // The browser's own way keeps what can be undone.
    if (indent && document.execCommand("insertText", false, `\n${indent}`)) event.preventDefault()
  }
  return element
}
