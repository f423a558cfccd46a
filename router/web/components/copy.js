/**
 * Copies a text.
 * @module
 */

import {h} from "../lib/dom.js"
import {toast} from "./dialog.js"

/**
 * @param {() => string} text @param {string} [label] what is copied, for those who can't see where the button stands
 * @returns {any} a button
 */
export function copyButton(text, label = "") {
  const button = h("button.small.plain", {type: "button", "aria-label": label && `Copy ${label}`, onclick: async () => {
    toast(await copied(text(), button) ? "Copied" : "The browser won't copy it: select the text.", "good")
  }}, "Copy")
  return button
}

/** @param {string} text @param {HTMLElement} beside */
async function copied(text, beside) {
  // Only pages of https or of this machine have a clipboard.
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false)
  const area = h("textarea.hidden", {value: text})
  beside.after(area)
  area.select()
  const done = document.execCommand("copy")
  area.remove()
  beside.focus()
  return done
}
