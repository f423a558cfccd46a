/**
 * Questions that wait for an answer, and short messages.
 * @module
 */

import {h} from "../lib/dom.js"

/**
 * Open a dialog until it is answered.
 * @param {string} title
 * @param {(Node | string)[]} content
 * @param {{yes: string, no?: string, danger?: boolean, large?: boolean, value?: () => any}} answers
 * @returns {Promise<any>} what `value` gives, or true; null if it was closed otherwise
 */
export function dialog(title, content, {yes, no = "Cancel", danger = false, large = false, value = () => true}) {
  return new Promise(done => {
    /** @type {any} */
    let given = null
    const element = h(large ? "dialog.large" : "dialog", {"aria-label": title},
      h("form", {method: "dialog", onsubmit: () => { given = value() }},
        h("h2", {}, title), ...content,
        h("div.row.end", {},
          no && h("button", {type: "button", onclick: () => element.close()}, no),
          h(danger ? "button.danger" : "button.primary", {type: "submit"}, yes))))
    element.addEventListener("close", () => {
      element.remove()
      done(given)
    })
    document.body.append(element)
    element.showModal()
  })
}

/** Ask whether to do what can't be taken back. @param {string} title @param {string} text @param {string} yes @returns {Promise<boolean>} */
export const confirmed = async (title, text, yes) => await dialog(title, [h("p", {}, text)], {yes, danger: true}) === true

/** Ask for an admin's key. @param {string} why @returns {Promise<string | null>} */
export function signInDialog(why) {
  const key = h("input", {type: "password", autocomplete: "current-password", required: true, name: "key"})
  return dialog("Sign in", [
    why && h("p", {}, why),
    h("label", {}, "Admin key", key),
    h("p.quiet", {}, "It stands in router.yaml under auth.admin_keys, and is kept until this tab is closed."),
  ], {yes: "Sign in", value: () => key.value})
}

/**
 * Say shortly what came of something; an error stays until it is closed.
 * @param {string} text @param {"good" | "bad"} [kind]
 */
export function toast(text, kind = "good") {
  const element = h(`div.toast.${kind}`, kind === "bad" ? {role: "alert"} : {}, h("span", {}, text),
    h("button.plain", {type: "button", "aria-label": "Close", onclick: () => element.remove()}, "×"))
  document.getElementById("toasts")?.append(element)
  if (kind === "good") setTimeout(() => element.remove(), 5000)
}

/** Do something, and tell if it went wrong. @template T @param {Promise<T>} what @param {string} [done] said where it went well @returns {Promise<T | undefined>} */
export async function told(what, done) {
  try {
    const value = await what
    if (done) toast(done)
    return value
  } catch (error) {
    toast(/** @type {Error} */ (error).message, "bad")
  }
}
