/**
 * A chat with any model, or the same one with two beside each other. It goes on, and stays, while another page is looked
 * at; it ends with this tab.
 * @module
 */

import {ApiError, ask, clientKey, useClientKey} from "../lib/api.js"
import {h, keyed, say} from "../lib/dom.js"
import {percent} from "../lib/format.js"
import {answer, showCode} from "../components/answer.js"
import {badge} from "../components/badge.js"
import {composer} from "../components/composer.js"
import {confirmed, dialog, toast} from "../components/dialog.js"
import {parameters} from "../components/parameters.js"

const MODELS_EVERY = 2000

/**
 * A question, and an answer of each model that was asked.
 * @typedef {{question: import("../components/composer.js").Question, answers: any[], element: HTMLElement}} Turn
 */

/** @type {ReturnType<typeof playground> | undefined} */
let kept

export function open() {
  kept ??= playground()
  const {element, look} = kept
  look()
  const timer = setInterval(look, MODELS_EVERY)
  return {element, close: () => clearInterval(timer)}
}

function playground() {
  /** @type {any[]} */
  let models = []
  /** @type {Turn[]} */
  let turns = []
  /** @type {Turn | null} the one whose question is being changed */
  let edited = null
  /** @type {Promise<boolean> | null} */
  let keyAsked = null
  let needsKey = false

  const first = lane("Model", []), second = lane("Beside it", [{id: "", state: ""}]), lanes = [first, second]
  const settings = parameters(), notice = h("p.notice", {hidden: true}), key = h("button", {type: "button", onclick: askForKey}, "Key …")
  const conversation = h("section.conversation", {"aria-label": "Conversation"}), empty = h("p.empty", {}, "Nothing asked yet.")
  const status = h("p.hidden", {role: "status"}), editing = h("p.notice.row", {hidden: true},
    h("span", {}, "Sending this replaces the question, and all that follows it."), h("button.small", {type: "button", onclick: () => edit(null)}, "Don't"))
  const writing = composer({send, stop: () => answering().forEach(each => each.stop())})
  const element = h("section.page.playground", {},
    h("div.row.between", {}, h("h1", {}, "Playground"), h("div.row", {},
      key, h("button", {type: "button", onclick: () => showCode(requests(writing.question())[0])}, "As code"), h("button", {type: "button", onclick: clear}, "Clear"))),
    h("div.row.choosers", {}, lanes.map(each => each.element)), notice,
    h("div.talk", {}, settings, h("div.page", {}, empty, conversation, h("div.foot", {}, editing, writing))), status)

  /** @param {string} label @param {any[]} before what can be chosen besides the models */
  function lane(label, before) {
    const select = h("select", {onchange: () => draw()}), state = badge(""), noImages = h("span.quiet", {}, "not known to see images")
    return {
      select,
      element: h("div.chooser.row", {}, h("label.inline", {}, label, select), state, noImages),
      draw() {
        const chosen = models.find(each => each.id === select.value)
        keyed(select, [...before, ...models], each => each.id, each => {
          const option = h("option", {value: each.id})
          option.update = (/** @type {any} */ next) => say(option, next.id ? `${next.id}${next.state === "ready" ? "" : ` (${next.state})`}` : "no other")
          option.update(each)
          return option
        })
        // An element without a box stays in place, and its neighbours, too.
        state.hidden = !chosen || !notice.hidden
        if (chosen) state.update(chosen.state, chosen.progress == null ? "" : `${percent(chosen.progress)} loaded`)
        noImages.hidden = !chosen || chosen.capabilities.includes("vision") || !asksWithImages()
      },
    }
  }

  const asksWithImages = () => writing.question().images.length > 0 || turns.some(each => each.question.images.length)
  const asked = () => lanes.map(each => each.select.value).filter(Boolean)
  const answering = () => turns.flatMap(each => each.answers).filter(each => each.running)

  function draw() {
    for (const each of lanes) each.draw()
    settings.update(asked().some(name => models.find(each => each.id === name)?.capabilities.includes("reasoning")))
    writing.update(answering().length > 0)
    key.hidden = !clientKey() && !needsKey
    empty.hidden = turns.length > 0
  }

  async function look() {
    if (document.hidden) return
    try {
      models = (await ask("/v1/models")).data
      notice.hidden = true
      needsKey = false
      if (!first.select.value) {
        first.draw()
        first.select.value = (models.find(each => each.state === "ready") ?? models[0])?.id ?? ""
      }
    } catch (error) {
      notice.hidden = false
      needsKey = isRefused(error)
      say(notice, isRefused(error) ? "Clients need a key here, one of auth.keys in router.yaml." : /** @type {Error} */ (error).message)
    }
    draw()
  }

  /** Ask for it once, however many wait for it. @returns {Promise<boolean>} whether one was given */
  function askForKey() {
    keyAsked ??= keyDialog().finally(() => { keyAsked = null })
    return keyAsked
  }

  async function keyDialog() {
    const field = h("input", {type: "password", autocomplete: "off", name: "key"})
    const given = await dialog("A client's key", [h("label", {}, "Key", field), h("p.quiet", {}, "One of auth.keys in router.yaml; it is kept until this tab is closed. Empty: none.")],
      {yes: "Use it", value: () => field.value})
    if (given === null) return false
    useClientKey(given)
    look()
    return true
  }

  /** What each model is asked: its own conversation so far. @param {import("../components/composer.js").Question} question @param {Turn[]} before */
  function requests(question, before = edited ? turns.slice(0, turns.indexOf(edited)) : turns) {
    return asked().map((model, place) => {
      const system = settings.system()
      const messages = before.flatMap(({question: earlier, answers}) => {
        const {text} = answers[place] ?? answers[0]
        return text ? [{role: "user", content: contentOf(earlier)}, {role: "assistant", content: text}] : []
      })
      return {
        model, messages: [...system ? [{role: "system", content: system}] : [], ...messages, {role: "user", content: contentOf(question)}],
        ...settings.values(), stream: true, stream_options: {include_usage: true},
      }
    })
  }

  /** @param {import("../components/composer.js").Question} question */
  function send(question) {
    if (!asked().length) {
      toast("There is no model to ask.", "bad")
      return
    }
    const bodies = requests(question)
    if (edited) cut(turns.indexOf(edited))
    edit(null)
    writing.put({text: "", images: []})
    const answers = h("div.answers", {}), turn = {question, answers: /** @type {any[]} */ ([]), element: h("div.turn", {}, asking(question, () => edit(turn)), answers)}
    turns.push(turn)
    conversation.append(turn.element)
    bodies.forEach((body, place) => run(turn, place, body))
    draw()
    scrollTo(0, document.documentElement.scrollHeight)
  }

  /** @param {Turn} turn @param {number} place @param {any} body */
  function run(turn, place, body) {
    const made = answer(body, {
      again: () => { if (!made.running) run(turn, place, requests(turn.question, turns.slice(0, turns.indexOf(turn)))[place] ?? body) },
      state: () => models.find(each => each.id === body.model)?.state ?? "",
      async ended(said, error) {
        say(status, said)
        draw()
        if (isRefused(error) && await askForKey()) run(turn, place, body)
      },
    })
    if (turn.answers[place]) turn.answers[place].replaceWith(made)
    else turn.element.lastElementChild?.append(made)
    turn.answers[place] = made
    made.run()
    draw()
  }

  /** @param {Turn | null} turn */
  function edit(turn) {
    edited = turn
    editing.hidden = !turn
    if (turn) writing.put(turn.question)
  }

  /** @param {number} place take away this turn, and all that follow it */
  function cut(place) {
    for (const each of turns.splice(place)) {
      each.answers.forEach(one => one.stop())
      each.element.remove()
    }
  }

  async function clear() {
    if (turns.length && !await confirmed("Clear the conversation?", "Its questions and answers are gone then.", "Clear")) return
    edit(null)
    cut(0)
    draw()
  }

  return {element, look}
}

/** @param {unknown} error */
const isRefused = error => error instanceof ApiError && error.status === 401

/** What a question is in a request. @param {import("../components/composer.js").Question} question */
const contentOf = ({text, images}) => images.length
  ? [...text ? [{type: "text", text}] : [], ...images.map(url => ({type: "image_url", image_url: {url}}))] : text

/** @param {import("../components/composer.js").Question} question @param {() => void} edit */
const asking = ({text, images}, edit) => h("div.question", {}, h("h2.hidden", {}, "Question"),
  images.length > 0 && h("div.row.pictures", {}, images.map((each, place) => h("img", {src: each, alt: `Image ${place + 1}`}))),
  h("p", {}, text), h("button.small.plain", {type: "button", onclick: edit}, "Edit"))
