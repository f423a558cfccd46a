/**
 * What a change of router.yaml does, or did.
 * @module
 */

import {h} from "../lib/dom.js"

/** @typedef {{do: string, name: string, why: string, but: string}} Step */

/** @type {Record<string, [string, string]>} what is said, and its tone */
const WORDS = {
  add: ["added", "good"], replace: ["replaced", "busy"], remove: ["removed", "warn"], tune: ["changed as it runs", "good"],
  route: ["route", "good"], limit: ["setting", "good"], stuck: ["only after a restart", "warn"], keep: ["stays", "none"],
}

/** @param {Step[]} steps @param {string} none said where nothing changes */
export function stepsView(steps, none) {
  const changes = steps.filter(each => each.do !== "keep"), kept = steps.length - changes.length
  return h("div", {}, changes.length ? h("ul.steps", {}, changes.map(each => {
    const [word, tone] = WORDS[each.do] ?? [each.do, "none"]
    return h("li", {}, h("span.name", {}, each.name), " ", h("span.badge", {dataset: {tone}}, word), each.why && h("div.quiet", {}, each.why), each.but && h("div.notice", {}, each.but))
  })) : h("p.empty", {}, none), kept > 0 && h("p.quiet", {}, kept === 1 ? "One backend stays as it is." : `${kept} backends stay as they are.`))
}
