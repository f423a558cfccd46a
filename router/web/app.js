/**
 * Starts the page: its frame, its pages by the address's hash, sign-in and theme.
 * @module
 */

import {adminKey, signIn} from "./lib/api.js"
import {fill, h, say} from "./lib/dom.js"
import {duration} from "./lib/format.js"
import {start, state, subscribe} from "./lib/store.js"
import {signInDialog} from "./components/dialog.js"

/**
 * @typedef {object} Opened
 * @property {HTMLElement} element
 * @property {() => void} [close] stop what the page began
 */

/** @type {Record<string, {title: string, load: () => Promise<{open: (args: string[]) => Opened}>}>} */
const PAGES = {
  overview: {title: "Overview", load: () => import("./pages/overview.js")},
  models: {title: "Models", load: () => import("./pages/models.js")},
  activity: {title: "Activity", load: () => import("./pages/activity.js")},
  usage: {title: "Usage", load: () => import("./pages/usage.js")},
  playground: {title: "Playground", load: () => import("./pages/playground.js")},
  configuration: {title: "Configuration", load: () => import("./pages/configuration.js")},
  logs: {title: "Logs", load: () => import("./pages/logs.js")},
}

/** @param {string} id @returns {any} */
const the = id => document.getElementById(id)

/** @type {Opened | null} */
let opened = null
let shown = ""

/** @param {string} text what somebody wrote into the address */
function decoded(text) {
  try { return decodeURIComponent(text) } catch { return text }
}

async function show() {
  const [name, ...args] = location.hash.replace(/^#\/?/, "").split("/").map(decoded)
  const page = PAGES[name] ? name : "overview"
  const asked = [page, ...args].join("/")
  shown = asked
  cover()
  for (const link of the("nav").children) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page")
    else link.removeAttribute("aria-current")
  }
  // On a narrow screen the menu scrolls sideways.
  the("nav").querySelector("[aria-current]").scrollIntoView({block: "nearest", inline: "nearest"})
  document.title = `${PAGES[page].title} · router`
  const {open} = await PAGES[page].load()
  if (shown !== asked) return
  opened?.close?.()
  opened = open(args)
  fill(the("main"), opened.element)
  scrollTo(0, 0)
}

function frame() {
  fill(the("nav"), Object.entries(PAGES).map(([name, {title}]) => h("a", {href: `#/${name}`, dataset: {page: name}}, title)))
  const theme = the("theme")
  theme.value = localStorage.getItem("router.theme") ?? ""
  theme.addEventListener("change", () => {
    localStorage.setItem("router.theme", theme.value)
    paint()
  })
  paint()
  the("sign").addEventListener("click", async () => {
    if (adminKey()) {
      signIn("")
      start()
    } else await ask("")
  })
  addEventListener("hashchange", () => {
    show()
    the("main").focus({preventScroll: true})
  })
}

function paint() {
  const theme = localStorage.getItem("router.theme") ?? ""
  if (theme) document.documentElement.dataset.theme = theme
  else delete document.documentElement.dataset.theme
}

let asking = false

/** @param {string} why */
async function ask(why) {
  if (asking) return
  asking = true
  const key = await signInDialog(why)
  asking = false
  if (key === null) return
  signIn(key)
  start()
}

const SAID = {connecting: "Connecting …", open: "Live", lost: "Reconnecting …", denied: "Sign-in needed"}
let denied = false

subscribe(() => {
  const element = the("connection")
  const stops = state.connection === "open" ? state.status?.router.stops_in : null
  element.dataset.state = stops == null ? state.connection : "stopping"
  element.title = state.error
  say(element, stops == null ? SAID[state.connection] : `Stopping within ${duration(stops)}`)
  say(the("sign"), adminKey() ? `Sign out${state.me.name ? ` (${state.me.name})` : ""}` : "Sign in")
  cover()
  if (state.connection === "denied" && !denied) ask(state.error)
  denied = state.connection === "denied"
})

/** What isn't known isn't shown as if there were none; but clients may chat without an admin's key. */
function cover() {
  const unknown = !state.status && !shown.startsWith("playground")
  the("main").hidden = unknown
  the("unknown").hidden = !unknown
  say(the("unknown"), state.error ? `Nothing can be told: ${state.error}` : "Asking the router …")
}

frame()
show()
start()
