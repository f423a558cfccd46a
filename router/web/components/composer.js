/**
 * Where a question is written: text, and images that are picked, pasted or dropped.
 * @module
 */

import {fill, h, say} from "../lib/dom.js"
import {toast} from "./dialog.js"

/** @typedef {{text: string, images: string[]}} Question the images are data: URLs */

/**
 * @param {{send: (question: Question) => void, stop: () => void}} hooks
 * @returns {any} an element; `put(question)` shows one, `question()` gives it, and `update(running)` tells whether there is something to stop
 */
export function composer({send, stop}) {
  /** @type {string[]} */
  let images = []
  let running = false
  const text = h("textarea", {rows: 2, placeholder: "Ask something", "aria-label": "Message", onkeydown: typed, onpaste: pasted})
  const files = h("input", {type: "file", accept: "image/*", multiple: true, hidden: true, onchange: () => {
    add([...files.files])
    files.value = ""
  }})
  const shown = h("ul.pictures"), go = h("button.primary", {type: "submit"}, "Send")
  const element = h("form.composer", {onsubmit: submit, ondragover: (/** @type {Event} */ event) => event.preventDefault(), ondrop: dropped},
    shown, text, files, h("div.row.between", {},
      h("button.plain", {type: "button", onclick: () => files.click()}, "Add images …"),
      h("span.quiet.hint", {}, "Enter sends, Shift+Enter is a new line"), go))

  element.question = () => ({text: text.value.trim(), images})
  element.put = (/** @type {Question} */ question) => {
    text.value = question.text
    images = [...question.images]
    pictures()
    text.focus()
  }
  element.update = (/** @type {boolean} */ isRunning) => {
    running = isRunning
    say(go, running ? "Stop" : "Send")
    go.classList.toggle("primary", !running)
  }

  /** @param {Event} event */
  function submit(event) {
    event.preventDefault()
    if (running) stop()
    else if (text.value.trim() || images.length) send(element.question())
  }

  /** @param {KeyboardEvent} event */
  function typed(event) {
    if (event.key === "Escape" && running) stop()
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return
    event.preventDefault()
    if (!running) element.requestSubmit()
  }

  /** @param {ClipboardEvent} event */
  function pasted(event) {
    const files = [...event.clipboardData?.files ?? []]
    if (!files.length) return
    event.preventDefault()
    add(files)
  }

  /** @param {DragEvent} event */
  function dropped(event) {
    event.preventDefault()
    add([...event.dataTransfer?.files ?? []])
  }

  /** @param {File[]} files */
  async function add(files) {
    for (const file of files) {
      if (!file.type.startsWith("image/")) toast(`${file.name} is no image.`, "bad")
      else images = [...images, await urlOf(file)]
    }
    pictures()
  }

  function pictures() {
    fill(shown, images.map((each, place) => h("li", {}, h("img", {src: each, alt: `Image ${place + 1}`}),
      h("button.small.plain", {type: "button", "aria-label": `Remove image ${place + 1}`, onclick: () => {
        images = images.filter(other => other !== each)
        pictures()
        text.focus()
      }}, "×"))))
  }
  return element
}

/** @param {File} file @returns {Promise<string>} */
function urlOf(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader()
    reader.onload = () => done(String(reader.result))
    reader.onerror = () => failed(reader.error)
    reader.readAsDataURL(file)
  })
}
