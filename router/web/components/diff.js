/**
 * Two texts, by the lines that differ, with a few around them.
 * @module
 */

import {h} from "../lib/dom.js"
import {difference} from "../lib/diff.js"

const AROUND = 3
const MARKS = {same: " ", gone: "−", new: "+"}
const SAID = {same: "", gone: "without: ", new: "with: "}

/** @param {string} before @param {string} after @param {string} label */
export function diffView(before, after, label) {
  const lines = difference(before, after), near = new Set()
  lines.forEach(({kind}, place) => {
    if (kind !== "same") for (let other = place - AROUND; other <= place + AROUND; other += 1) near.add(other)
  })
  if (!near.size) return h("p.empty", {}, "They are the same.")
  return h("div.diff", {tabindex: 0, role: "group", "aria-label": label}, lines.map(({kind, text}, place) => near.has(place)
    ? h("div", {dataset: {kind}}, h("span.hidden", {}, SAID[kind]), h("span", {"aria-hidden": "true"}, `${MARKS[kind]} `), text)
    : near.has(place - 1) || place === 0 ? h("div.quiet", {}, "…") : null))
}
