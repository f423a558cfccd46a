/**
 * One model's answer to one question: asked for, shown as it is written, stopped.
 * @module
 */

import {clientKey} from "../lib/api.js"
import {chat} from "../lib/chat.js"
import {h, say} from "../lib/dom.js"
import {duration, number} from "../lib/format.js"
import {markdown} from "../lib/markdown.js"
import {asCurl, asPython} from "../lib/snippets.js"
import {codeBlock} from "./code.js"
import {copyButton} from "./copy.js"
import {dialog} from "./dialog.js"

const FIGURES_EVERY = 500
/** Characters that are drawn at once: of more that came together, the rest is drawn with the next frames. */
const MOST_AT_ONCE = 4000

/**
 * @param {any} body the request
 * @param {{again: () => void, ended: (said: string, error?: any) => void, state: () => string}} hooks `again` asks
 *   anew, `ended` is told how it ended, in words; `state` is the model's
 * @returns {any} an element; `run()` asks, `stop()` ends it, `text` is the answer, `running` whether it is under way
 */
export function answer(body, {again, ended, state}) {
  const {model} = body, ending = new AbortController()
  const doing = h("span.quiet", {}, "Asked …"), text = markdown()
  const summary = h("summary", {}, "Thinks …"), thoughts = h("div.thoughts"), reasoning = h("details.reasoning", {hidden: true}, summary, thoughts)
  const failure = h("p.notice", {hidden: true, dataset: {tone: "bad"}})
  const copy = copyButton(() => element.text, `the answer of ${model}`), code = h("button.small.plain", {type: "button", onclick: () => showCode(body)}, "As code")
  const redo = h("button.small.plain.again", {type: "button", onclick: again, "aria-label": `Ask ${model} again`}, "Again")
  const levers = h("div.row.levers", {hidden: true}, copy, redo, code)
  const element = h("article.answer", {"aria-label": `Answer of ${model}`},
    h("div.row.between", {}, h("h3.name", {}, model), doing), reasoning, text, failure, levers)
  element.text = ""
  element.running = false

  let newText = "", newThought = "", place = "", drawing = false, began = 0, wrote = 0, pieces = 0, saidAt = 0

  /** @param {string} some @param {string} thought */
  function hear(some, thought) {
    element.text += some
    newText += some
    newThought += thought
    pieces += 1
    if (!wrote) wrote = performance.now()
    schedule()
  }

  function schedule() {
    if (drawing) return
    drawing = true
    requestAnimationFrame(() => following(draw))
  }

  function draw() {
    drawing = false
    if (newThought) {
      reasoning.hidden = false
      thoughts.append(newThought)
      newThought = ""
    }
    if (newText) {
      if (!text.firstChild) say(summary, `Thought for ${duration((performance.now() - wrote) / 1000)}`)
      text.write(newText.slice(0, MOST_AT_ONCE))
      newText = newText.slice(MOST_AT_ONCE)
    }
    if (newText) schedule()
    else if (!element.running) {
      text.end()
      if (!text.firstChild) say(summary, "Thoughts")
    }
    if (element.running) tick()
  }

  function tick() {
    const now = performance.now()
    if (now - saidAt < FIGURES_EVERY) return
    saidAt = now
    const waited = `${Math.round((now - began) / 1000)} s`
    say(doing, wrote ? `${duration((wrote - began) / 1000)} to the first · about ${number(pieces / Math.max(0.001, now - wrote) * 1000)} tokens/s` : `${place || state() || "Asked"} · ${waited}`)
  }

  element.run = async () => {
    element.running = true
    began = performance.now()
    const timer = setInterval(tick, FIGURES_EVERY)
    let said = "", failed
    try {
      const figures = await chat(body, hear, ending.signal, words => { place = words })
      say(doing, told(figures))
      doing.title = figures.backend && `Answered by ${figures.backend}`
      said = `${model} has answered${figures.usage ? ` in ${number(figures.usage.completion_tokens)} tokens` : ""}.`
    } catch (/** @type {any} */ error) {
      failed = error
      say(doing, ending.signal.aborted ? "Stopped" : "Failed")
      failure.hidden = ending.signal.aborted
      say(failure, error.message)
      said = ending.signal.aborted ? `${model} was stopped.` : `${model} failed: ${error.message}`
    }
    clearInterval(timer)
    element.running = levers.hidden = false
    schedule()
    ended(said, failed)
  }
  element.stop = () => ending.abort()
  return element
}

/** @param {import("../lib/chat.js").Figures} figures */
const told = ({ttft, seconds, speed, usage, finish}) => [
  ttft === null ? duration(seconds) : `${duration(ttft)} to the first`, speed && `${number(speed)} tokens/s`,
  usage && `${number(usage.prompt_tokens)} + ${number(usage.completion_tokens)} tokens${usage.prompt_tokens_details?.cached_tokens ? `, ${number(usage.prompt_tokens_details.cached_tokens)} of them cached` : ""}`,
  finish !== "stop" && `ended by ${finish}`,
].filter(Boolean).join(" · ")

/** Draw; who was at the page's end stays there. @param {() => void} draw */
function following(draw) {
  const page = /** @type {Element} */ (document.scrollingElement), isAtEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 60
  draw()
  if (isAtEnd) page.scrollTop = page.scrollHeight
}

/** Show how a request is sent otherwise. @param {any} body */
export function showCode(body) {
  const how = /** @type {[any, string, boolean]} */ ([body, location.origin, Boolean(clientKey())])
  dialog("The same request", [h("h3", {}, "curl"), codeBlock("", asCurl(...how)), h("h3", {}, "Python, with OpenAI's package"), codeBlock("", asPython(...how))],
    {yes: "Close", no: "", large: true})
}
