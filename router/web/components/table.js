/**
 * A table that stays as it is where its rows do: it can be sorted, and its rows have what they had open.
 * @module
 */

import {fill, h, keyed, say} from "../lib/dom.js"

/**
 * @template T
 * @typedef {object} Column
 * @property {string} title
 * @property {string} [said] what it is called where it has no title; it can't be sorted by then
 * @property {(row: T) => any} value what is shown, and sorted by unless `by` is given: a text or a figure, or an element with `show`
 * @property {(row: T) => any} [by] what is sorted by
 * @property {(row: T, cell: HTMLElement) => void} [show] fills a cell by itself, each time its row has changed
 * @property {boolean} [figures] right-aligned
 * @property {boolean} [wide] may be left out on a narrow screen
 */

/**
 * @template T
 * @param {object} options
 * @param {string} options.label what the table is, for those who can't see it
 * @param {Column<T>[]} options.columns
 * @param {(row: T) => string} options.key
 * @param {string} [options.empty] said where there is no row
 * @param {(row: T) => void} [options.onopen] a row was chosen
 * @param {[number, 1 | -1]} [options.sort] the column sorted by at first, and which way
 * @returns {any} an element; `update(rows)` shows others
 */
export function table({label, columns, key, empty = "Nothing here.", onopen, sort}) {
  let rows = /** @type {T[]} */ ([]), sorted = sort
  const heads = columns.map((column, place) => h("th", {scope: "col", class: classes(column)}, column.said ? h("span.hidden", {}, column.said) :
    h("button.plain", {type: "button", onclick: () => {
      sorted = [place, sorted?.[0] === place && sorted[1] === 1 ? -1 : 1]
      draw()
    }}, column.title)))
  const body = h("tbody"), none = h("p.empty", {}, empty)
  const element = h("div.table", {tabindex: 0, role: "region", "aria-label": label},
    h("table", {"aria-label": label}, h("thead", {}, h("tr", {}, heads)), body), none)

  function draw() {
    heads.forEach((head, place) => {
      if (sorted?.[0] === place) head.setAttribute("aria-sort", sorted[1] === 1 ? "ascending" : "descending")
      else head.removeAttribute("aria-sort")
    })
    keyed(body, ordered(), key, line)
    none.hidden = rows.length > 0
    element.firstChild.hidden = rows.length === 0
  }

  function ordered() {
    if (!sorted) return rows
    const [place, way] = sorted, by = columns[place].by ?? columns[place].value
    return [...rows].sort((one, other) => compare(by(one), by(other)) * way)
  }

  /** @param {T} row */
  function line(row) {
    const cells = columns.map(column => h("td", {class: classes(column), "data-label": column.title}))
    const made = h("tr", onopen ? {tabindex: 0, onclick: (/** @type {any} */ event) => {
      if (!event.target.closest("button, a, input")) onopen(made.row)
    }, onkeydown: (/** @type {any} */ event) => {
      if (event.key === "Enter" && event.target === made) onopen(made.row)
    }} : {}, cells)
    made.update = (/** @type {T} */ next) => {
      made.row = next
      columns.forEach((column, place) => column.show ? column.show(next, cells[place]) : put(cells[place], column.value(next)))
    }
    made.update(row)
    return made
  }

  element.update = (/** @type {T[]} */ next) => {
    rows = next
    draw()
  }
  return element
}

/** @param {HTMLElement} cell @param {any} value */
function put(cell, value) {
  if (value instanceof Node) fill(cell, value)
  else say(cell, value == null ? "–" : String(value))
}

/** @param {Column<any>} column */
const classes = column => [column.figures && "figures", column.wide && "wide"].filter(Boolean).join(" ") || null

/** @param {any} one @param {any} other */
function compare(one, other) {
  if (one == null || other == null) return one == null ? other == null ? 0 : 1 : -1
  return typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other), undefined, {numeric: true})
}
