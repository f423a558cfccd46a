/**
 * router.yaml: its text, what is wrong with it, what a change would do; saved where the key may, else copied.
 * @module
 */

import {ask, refusal, send} from "../lib/api.js"
import {fill, h, say} from "../lib/dom.js"
import {bytes, duration, moment} from "../lib/format.js"
import {may, state, subscribe} from "../lib/store.js"
import {yaml} from "../lib/yaml.js"
import {copyButton} from "../components/copy.js"
import {confirmed, dialog, toast, told} from "../components/dialog.js"
import {diffView} from "../components/diff.js"
import {editor} from "../components/editor.js"
import {stepsView} from "../components/steps.js"

const PAUSE = 400
const FILE = "/admin/config/file"

/** @typedef {{file: string | null, line: number | null, column: number | null, key: string, message: string}} Problem */
/** @typedef {{file: string, etag: string, text: string}} File what the router has, and `draft` is a change of it */

/** @type {{base: File, text: string} | null} what isn't saved, while another page is looked at */
let draft = null

export function open() {
  /** @type {File | null} */
  let base = null
  /** @type {AbortController | undefined} */
  let planning
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer
  let closed = false, reloadedAt = /** @type {number | null} */ (null), isSaving = false, isWrong = false, wasOpen = state.connection === "open"

  const path = h("p.quiet.path", {}), changed = h("p.notice.row", {hidden: true}), why = h("p.notice", {hidden: true, dataset: {tone: "bad"}})
  const summary = h("p.figure", {id: "problems", role: "status"}), found = h("div")
  const text = editor("router.yaml", {oninput: typed, described: "problems"})
  const save = h("button.primary", {type: "button", onclick: write}, "Save"), undo = h("button", {type: "button", onclick: takeBack}, "Take changes back")
  const compare = h("button", {type: "button", onclick: () => show("What you have changed", base?.text ?? "", text.value)}, "See changes")
  const reload = h("button", {type: "button", onclick: readAgain}, "Reload"), outcome = h("section.card", {hidden: true, "aria-label": "Outcome"})
  const rights = h("p.quiet", {}), versions = h("section", {hidden: true}), force = inForce()
  const work = h("div.two.work", {}, h("div.page", {}, text, h("div.row", {}, save, copyButton(() => text.value, "the text"), compare, undo), rights),
    h("div.page", {}, h("section.card", {"aria-label": "Check"}, summary, found), outcome, versions))
  const element = h("section.page", {}, h("div.row.between", {}, h("div", {}, h("h1", {}, "Configuration"), path), reload), changed, why, work, force)

  const isDirty = () => base !== null && text.value !== base.text

  function buttons() {
    const dirty = isDirty()
    save.hidden = !may("configure")
    save.disabled = !dirty || isSaving || isWrong
    undo.disabled = compare.disabled = !dirty
    reload.disabled = !may("manage")
    say(rights, may("configure") ? "Secrets are shown as (hidden), and stay what they are. What makes this machine run programs or read files is changed on its disk alone."
      : "Saving here needs an admin key with the scope configure. Or copy the text, and put it into the file: it is taken over at once. Secrets are shown as (hidden): keep those of the file.")
  }

  /** Show the file that the router has; what was changed here stays, unless it is to `take` the place of it. @param {boolean} [take] */
  async function load(take = false) {
    try {
      const file = await ask(FILE)
      if (closed) return
      why.hidden = true
      work.hidden = false
      if (draft && !take && !base) {
        base = draft.base
        text.value = draft.text
        meet(file)
      } else if (take || !isDirty()) {
        base = file
        if (text.value !== file.text) text.value = file.text
        changed.hidden = true
      } else meet(file)
      say(path, file.file)
      plan()
    } catch (/** @type {any} */ error) {
      if (closed) return
      why.hidden = false
      work.hidden = base === null
      say(why, error.message)
    }
    buttons()
    history()
  }

  function typed() {
    // What was saved or read before is not about this text.
    outcome.hidden = true
    buttons()
    clearTimeout(timer)
    timer = setTimeout(plan, PAUSE)
  }

  async function plan() {
    planning?.abort()
    const ending = planning = new AbortController()
    if (!text.value.trim()) {
      tell([{file: null, line: null, column: null, key: "", message: "It is empty."}], [])
      return
    }
    try {
      const response = await send("/admin/plan", {text: text.value, signal: ending.signal})
      if (!response.ok && response.status !== 422) throw await refusal(response)
      const {problems, steps, locked} = await response.json()
      if (planning === ending) tell(problems, steps, locked)
    } catch (/** @type {any} */ error) {
      if (!ending.signal.aborted) tell([{file: null, line: null, column: null, key: "", message: error.message}], [])
    }
  }

  /** @param {Problem[]} problems @param {import("../components/steps.js").Step[]} steps @param {string[]} [locked] what is for the disk alone */
  function tell(problems, steps, locked = []) {
    text.mark(problems.filter(isHere).map(each => ({line: each.line, column: each.column, message: each.message})))
    const changes = steps.filter(each => each.do !== "keep").length
    say(summary, problems.length ? problems.length === 1 ? "One problem" : `${problems.length} problems` : isDirty() ? changes ? "It is right. It would do this:" : "It is right." : "This is in force.")
    isWrong = problems.length > 0 || (locked.length > 0 && may("configure"))
    buttons()
    summary.dataset.tone = problems.length ? "bad" : "good"
    if (problems.length) fill(found, h("ul.problems", {}, problems.map(each => h("li", {}, problem(each)))))
    else fill(found, locked.length > 0 && h("p.notice", {dataset: {tone: "warn"}}, `Changed on the disk alone, so this can't be saved here: ${locked.join(", ")}. Copy the text, and put it into the file.`), stepsView(steps, isDirty() ? "Nothing would change." : "Nothing is left to take over."))
  }

  /** @param {Problem} each */
  const isHere = each => each.line !== null && each.file === base?.file

  /** @param {Problem} each */
  function problem(each) {
    const said = [each.key && h("code", {}, each.key), each.key && " ", each.message]
    if (!isHere(each)) return h("div", {}, each.file && h("div.quiet", {}, [each.file, each.line].filter(Boolean).join(":")), said)
    return h("button.plain", {type: "button", onclick: () => text.go(each.line, each.column)}, h("span.quiet", {}, `Line ${each.line}`), h("span", {}, said))
  }

  async function write() {
    if (!base || isSaving) return
    isSaving = true
    buttons()
    const sent = text.value
    let again = false
    try {
      const response = await send("/admin/config", {method: "PUT", text: sent, headers: {"if-match": base.etag}})
      // A router that was started again has another tag for the same text.
      if (response.status === 412) again = meet(await ask(FILE))
      else if (response.status === 422) {
        const {problems} = await response.json()
        tell(problems, [])
        toast("Not saved: it has mistakes.", "bad")
      } else if (!response.ok) throw await refusal(response)
      else {
        const {steps, seconds} = await response.json()
        const file = await ask(FILE)
        base = file
        changed.hidden = true
        if (text.value === sent && sent !== file.text) text.value = file.text
        draft = null
        finished(`Saved, and in force after ${duration(seconds)}.`, steps)
        plan()
        history()
      }
    } catch (/** @type {any} */ error) {
      toast(`Not saved: ${error.message}`, "bad")
    }
    isSaving = false
    if (again) await write()
    else buttons()
  }

  /** @param {string} title @param {import("../components/steps.js").Step[]} steps */
  function finished(title, steps) {
    outcome.hidden = false
    fill(outcome, h("p.figure", {role: "status"}, title), stepsView(steps, "Nothing has changed."))
  }

  async function readAgain() {
    try {
      const response = await send("/admin/reload", {json: {}})
      if (!response.ok && response.status !== 422) throw await refusal(response)
      const {problems, steps, seconds} = await response.json()
      if (problems.length) {
        outcome.hidden = false
        fill(outcome, h("p.figure", {role: "status"}, "The file has mistakes; nothing has changed."), h("ul.problems", {}, problems.map((/** @type {Problem} */ each) => h("li", {}, problem(each)))))
      } else finished(`Read again in ${duration(seconds)}.`, steps)
      load()
    } catch (/** @type {any} */ error) {
      toast(error.message, "bad")
    }
  }

  /** See the file that the router has by now. @param {File} file @returns {boolean} whether what is here is still a change of it */
  function meet(file) {
    if (file.text === base?.text) base = file
    else if (file.etag !== base?.etag) conflict(file)
    return file === base
  }

  /** Somebody else has changed the file. @param {File} other */
  function conflict(other) {
    changed.hidden = false
    fill(changed, h("span", {}, "The file has been changed meanwhile, and not by you here."),
      h("button.small", {type: "button", onclick: () => show("Their version, compared with yours", text.value, other.text)}, "See the other version"),
      h("button.small", {type: "button", onclick: async () => {
        if (await confirmed("Take the other version?", "Your changes here are gone then.", "Take it")) take(other, other.text)
      }}, "Take the other"),
      h("button.small", {type: "button", onclick: () => take(other, text.value)}, "Keep mine, over theirs"))
  }

  /** @param {File} file @param {string} mine what is in the text area from now on: a change of that file */
  function take(file, mine) {
    base = file
    text.value = mine
    changed.hidden = true
    buttons()
    plan()
  }

  async function takeBack() {
    if (!await confirmed("Take your changes back?", "The text becomes what the router has.", "Take back")) return
    draft = null
    load(true)
  }

  /** The texts that it had before. */
  async function history() {
    try {
      const {versions: all} = await ask("/admin/config/versions")
      versions.hidden = all.length < 2
      fill(versions, h("h2", {}, "Earlier versions"), h("ul.steps", {}, all.slice(1).map((/** @type {any} */ each) => h("li.row.between", {},
        h("div", {}, moment(each.at), h("div.quiet", {}, `${each.by} · ${bytes(each.size)}`)),
        h("button.small", {type: "button", "aria-label": `Compare with the version of ${moment(each.at)}`, onclick: () => earlier(each.id)}, "Compare")))))
    } catch {
      versions.hidden = true
    }
  }

  /** @param {number} id */
  async function earlier(id) {
    const version = await told(ask(`/admin/config/versions/${id}`))
    if (!version) return
    const yes = await dialog(`The version of ${moment(version.at)}`, [h("p.quiet", {}, "Lines with − are in the text area, those with + in that version."), diffView(text.value, version.text, "Differences")],
      {yes: "Put it into the text area", no: "Close", large: true})
    if (yes) {
      text.value = version.text
      typed()
    }
  }

  const unsubscribe = subscribe(() => {
    buttons()
    const {connection, status} = state, at = status?.reload?.at ?? null
    // The file may be another one after a reload, and after a time without the router.
    if (connection === "open" && !isSaving && (!wasOpen || at !== reloadedAt)) load()
    wasOpen = connection === "open"
    reloadedAt = at
  })
  const leaving = (/** @type {Event} */ event) => {
    if (isDirty()) event.preventDefault()
  }
  addEventListener("beforeunload", leaving)
  load()
  return {element, close: () => {
    closed = true
    planning?.abort()
    clearTimeout(timer)
    unsubscribe()
    removeEventListener("beforeunload", leaving)
    draft = base && isDirty() ? {base, text: text.value} : null
    if (draft) toast("Your changes of router.yaml are kept while this tab is open.")
  }}
}

/** @param {string} title @param {string} before @param {string} after */
const show = (title, before, after) => dialog(title, [diffView(before, after, title)], {yes: "Close", no: "", large: true})

/** All of the configuration, its defaults included. */
function inForce() {
  const text = h("pre.log", {tabindex: 0, role: "group", "aria-label": "Configuration in force"})
  return h("details", {ontoggle: async (/** @type {any} */ event) => {
    if (event.target.open) say(text, yaml(await told(ask("/admin/config")) ?? {}))
  }}, h("summary", {}, "All that is in force, with every default"), text)
}
