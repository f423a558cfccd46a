/**
 * Lines over time.
 * @module
 */

import {fill, h, say, svg} from "../lib/dom.js"

/** @typedef {{label: string, values: (number | null)[]}} Series */

const WIDTH = 300, HEIGHT = 72

/**
 * A small chart with its latest figures beside its title.
 * @param {string} title @param {(value: number | null | undefined) => string} unit
 */
export function chart(title, unit) {
  const now = h("span.figure"), drawing = svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true"})
  const top = h("span.quiet"), span = h("span.quiet")
  const element = h("figure.chart", {}, h("figcaption", {}, title, now), drawing, h("div.row.between", {}, span, top))
  /** @param {Series[]} series @param {string} time how long it is from the first to the last value */
  element.update = (series, time) => {
    const all = series.flatMap(each => each.values).filter(each => each != null)
    const most = Math.max(...all, 0)
    fill(drawing, series.map((each, place) => svg("path", {d: path(each.values, most || 1), class: `line line-${place}`})))
    say(now, series.map(each => `${series.length > 1 ? `${each.label} ` : ""}${unit(each.values.at(-1))}`).join(" · "))
    say(top, `at most ${unit(most)}`)
    say(span, time)
  }
  return element
}

/** @param {(number | null)[]} values @param {number} most */
function path(values, most) {
  const step = WIDTH / Math.max(1, values.length - 1)
  let text = "", pen = false
  values.forEach((value, place) => {
    if (value == null) {
      pen = false
      return
    }
    text += `${pen ? "L" : "M"}${(place * step).toFixed(1)} ${(HEIGHT - 2 - value / most * (HEIGHT - 4)).toFixed(1)}`
    // A value between two gaps is seen as a dot.
    if (!pen) text += "h0.1"
    pen = true
  })
  return text
}
