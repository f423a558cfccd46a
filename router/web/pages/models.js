/**
 * Every launched model, here and at peers: its state and memory, the levers over it, its engine's log; and what lies on disk besides.
 * @module
 */

import {act, ask, part} from "../lib/api.js"
import {fill, h, say} from "../lib/dom.js"
import {bytes, duration, number, percent} from "../lib/format.js"
import {may, refresh, state, subscribe} from "../lib/store.js"
import {copyButton} from "../components/copy.js"
import {badge} from "../components/badge.js"
import {progress} from "../components/bar.js"
import {confirmed, dialog, toast, told} from "../components/dialog.js"
import {engineLog} from "../components/engine_log.js"
import {factsOf} from "../components/facts.js"
import {table} from "../components/table.js"

/** @param {string[]} args the name of the model that is opened, if one is */
export function open(args) {
  const chosen = args.join("/")
  const whose = h("select", {"aria-label": "Whose models", hidden: true, onchange: () => draw()})
  const search = h("input", {type: "search", placeholder: "Search", "aria-label": "Search models", oninput: () => draw()})
  const list = table({
    label: "Models", empty: "No model is launched here that matches. router.yaml names them, under backends.",
    key: row => row.name, sort: [0, 1], onopen: row => { location.hash = address(row.name) }, columns: [
      {title: "Model", value: row => row.name, by: row => `${row.peer ?? ""}\n${row.name}`, show: (row, cell) => fill(cell, h("a.name", {href: address(row.name)}, row.name), served(row))},
      {title: "State", value: row => row.state, show: stated},
      {title: "Engine", value: row => row.engine, wide: true},
      {title: "Memory", value: row => isOut(row) ? total(row) && `(${bytes(total(row))})` : bytes(total(row)), by: total, figures: true},
      {title: "Requests", value: row => number(row.in_flight + row.waiting), by: row => row.in_flight + row.waiting, figures: true},
      {title: "Unloads", value: unloads, wide: true},
      {title: "", said: "Lever", value: () => "", show: (row, cell) => levers(row, cell)},
    ],
  })
  const detail = h("div")
  const element = h("section.page", {}, h("div.row.between", {}, h("h1", {}, "Models"), h("div.row", {}, whose, search)), detail, list, onDisk())
  const shown = chosen ? details(chosen) : null
  if (shown) detail.append(shown)

  function draw() {
    const wanted = search.value.toLowerCase()
    offer(whose)
    list.update(state.models.filter(each => (!whose.value || whose.value === (each.peer ?? HERE)) &&
      [each.name, ...each.models, each.engine ?? "", each.state].some(text => text.toLowerCase().includes(wanted))))
    shown?.update()
  }
  const unsubscribe = subscribe(draw)
  return {element, close: () => {
    unsubscribe()
    shown?.close()
  }}
}

const HERE = "this machine"

/** Offer each machine, where there are others than this one. @param {any} whose */
function offer(whose) {
  const peers = [...new Set(state.models.flatMap(each => each.peer ?? []))].sort(), all = peers.join("\n")
  whose.hidden = !peers.length
  if (whose.dataset.peers === all) return
  const chosen = whose.value
  whose.dataset.peers = all
  fill(whose, h("option", {value: ""}, "every machine"), [HERE, ...peers].map(each => h("option", {value: each}, each)))
  whose.value = peers.includes(chosen) || chosen === HERE ? chosen : ""
}

/** @param {string} name */
const address = name => `#/models/${part(name)}`
/** @param {any} row */
const total = row => Object.values(row.footprint).reduce((/** @type {number} */ sum, /** @type {any} */ each) => sum + each, 0) || null
/** @param {any} row */
const served = row => row.models.some((/** @type {string} */ each) => each !== row.name) ? h("div.quiet", {}, row.models.join(", ")) : null
/** @param {any} row */
const unloads = row => row.stays || row.pinned ? "stays" : row.expires == null ? "–" : `in ${duration(row.expires)}`
/** @param {any} row */
const isOut = row => row.state === "unloaded" || row.state === "failed"
/** @param {any} row */
const isLoading = row => ["loading", "queued", "starting"].includes(row.state)

/** @param {any} row @param {HTMLElement} cell */
function stated(row, cell) {
  fill(cell, badge(row.failure ? "failed" : row.state, row.failure?.reason), isLoading(row) && row.share != null && progress(row.share, `${row.name}: ${percent(row.share)} loaded`),
    h("div.quiet.short", {title: isLoading(row) ? row.detail : ""}, isLoading(row) ? [row.load ?? row.detail, row.seconds && `${duration(row.seconds)} to go`].filter(Boolean).join(", ") : row.pinned ? "pinned" : ""))
}

/** The one lever that is wanted most. @param {any} row @param {HTMLElement} cell */
function levers(row, cell) {
  const does = isOut(row) ? "load" : "unload"
  let button = /** @type {any} */ (cell.firstChild)
  if (!button) {
    button = h("button.small", {type: "button", onclick: () => lever(button.name_, button.does)})
    cell.append(button)
  }
  Object.assign(button, {name_: row.name, does, disabled: !may("manage") || (does === "unload" && row.stays)})
  button.title = may("manage") ? "" : "Your key may only look."
  button.setAttribute("aria-label", `${does === "load" ? "Load" : "Unload"} ${row.name}`)
  say(button, does === "load" ? "Load" : "Unload")
}

/** @param {string} name @param {"load" | "unload" | "pin" | "unpin"} what */
async function lever(name, what) {
  const answer = await told(act(`/admin/models/${part(name)}/${what}`, what === "load" || what === "unload" ? {wait: false} : {}))
  if (answer?.error) toast(answer.error.message, "bad")
  refresh()
}

/** @param {string} name @param {string} what @param {any} [json] */
async function backendLever(name, what, json) {
  await told(act(`/admin/backends/${part(name)}/${what}`, json), `${name}: ${what}`)
  refresh()
}

/** @param {string} name */
function details(name) {
  const facts = h("dl.facts"), buttons = h("div.row"), log = engineLog(name), gone = h("p.empty", {hidden: true}, `There is no model '${name}' here now.`)
  const element = h("section.card", {"aria-label": name}, h("div.row.between", {}, h("h2", {}, name), h("a", {href: "#/models"}, "Close")), gone, buttons, facts, h("h3", {}, "Log of its engine"), log)
  const does = (/** @type {string} */ text, /** @type {() => void} */ onclick, danger = false) => h(`button${danger ? ".danger" : ""}`, {type: "button", onclick, disabled: !may("manage")}, text)
  let shownFor = ""
  element.update = () => {
    const row = state.models.find(each => each.name === name), backend = state.status?.backends.find((/** @type {any} */ each) => each.name === name)
    gone.hidden = Boolean(row) || !state.status
    if (!row) return
    fill(facts, factsOf([
      ["State", h("span.short", {title: row.detail ?? ""}, [row.state, row.detail].filter(Boolean).join(": "))], row.failure && ["Failed", row.failure.reason],
      row.peer && ["Machine", row.peer], ["Serves", row.models.join(", ")], ["Engine", row.engine], row.pid && ["Process", row.pid],
      ["Needs", memory(row.footprint, row.source)], ["Holds", memory(row.reserved)], row.note && ["Note", row.note],
      row.context && ["Context", `${number(row.context)} tokens`], row.capabilities?.length && ["Can", row.capabilities.join(", ")],
      ["Requests", `${number(row.in_flight)} in flight, ${number(row.waiting)} waiting`], row.idle != null && ["Idle for", duration(row.idle)], ["Unloads", unloads(row)],
      backend?.restarts != null && ["Restarts", number(backend.restarts)], backend?.load_seconds != null && ["Took to load", duration(backend.load_seconds)],
      backend?.drained && ["Drained", `by ${backend.drained_by ?? "router.yaml"}`],
    ]))
    const now = [isOut(row), row.pinned, backend?.drained, may("manage")].join()
    if (now === shownFor) return
    shownFor = now
    fill(buttons,
      isOut(row) ? does("Load", () => lever(name, "load")) : does("Unload", () => lever(name, "unload")),
      row.pinned ? does("Unpin", () => lever(name, "unpin")) : does("Pin", () => lever(name, "pin")),
      does("Restart", async () => await confirmed(`Restart ${name}?`, "Its engine is started afresh. No answer is cut.", "Restart") && backendLever(name, "restart")),
      backend?.drained ? does("Undrain", () => backendLever(name, "undrain")) : does("Drain", () => backendLever(name, "drain")),
      does("Scale …", () => scale(name)))
  }
  element.close = () => log.close()
  return element
}

/** @param {Record<string, number>} held @param {string} [source] */
const memory = (held, source) => Object.entries(held).map(([device, size]) => `${bytes(size)} of ${device}`).join(", ").concat(source ? ` (${source})` : "") || "–"

/** @param {string} name */
async function scale(name) {
  const count = h("input", {type: "number", min: 1, max: 64, value: 1, required: true})
  const replicas = await dialog(`Scale ${name}`, [h("label", {}, "Processes that run it", count), h("p.quiet", {}, "Until its entry in router.yaml changes.")],
    {yes: "Scale", value: () => Number(count.value)})
  if (replicas !== null) await backendLever(name, "scale", {replicas})
}

/** What lies on this machine's disk besides: it is looked for when somebody wants to know. */
function onDisk() {
  const found = h("div.cards")
  const element = h("details.card", {ontoggle: async () => {
    if (!element.open || found.firstChild) return
    fill(found, h("p.empty", {}, "Looking …"))
    try {
      const {models, cut} = await ask("/admin/found")
      fill(found, cut && h("p.notice", {}, cut), models.map(onOne), !models.length && h("p.empty", {}, "Nothing that router.yaml hasn't."))
    } catch (error) {
      fill(found, h("p.empty", {}, /** @type {Error} */ (error).message))
    }
  }}, h("summary", {}, "Models on disk that router.yaml lacks"), found)
  return element
}

/** @param {any} each */
function onOne(each) {
  const lines = each.lines.join("\n")
  return h("div", {}, h("h3", {}, each.name),
    h("p.quiet", {}, [bytes(each.size), each.parameters, each.quantization, each.context && `${number(each.context)} tokens`, each.modality, each.fits === false && "doesn't fit here"].filter(Boolean).join(" · ")),
    each.note && h("p.quiet", {}, each.note), h("pre", {tabindex: 0}, lines),
    copyButton(() => `${lines}\n`, each.name))
}
