import {h} from "../lib/dom.js"

export function open() {
  return {element: h("section.page", {}, h("h1", {}, "Playground"))}
}
