/**
 * Markdown that is still being written: makes elements, never HTML.
 *
 * Each line that is whole is read once, and what it made stays. The last line, of which more may come, is shown as well,
 * and taken back before the next text is read. So a long answer costs at each step what its last block costs, and a
 * paragraph or a block of code that gets long is settled in pieces.
 * @module
 */

import {codeBlock} from "../components/code.js"
import {h} from "./dom.js"
import {inline} from "./inline.js"

/**
 * A quote, or an item of a list, that is open. `edge` is where an item's mark stands, `indent` where its text does.
 * @typedef {{kind: "root" | "quote" | "item", element: HTMLElement, list?: HTMLElement, mark?: string, edge?: number, indent?: number}} Container
 *
 * The block that is open: a paragraph's `raw` isn't settled yet, its first `kept` nodes are.
 * @typedef {object} Leaf
 * @property {"paragraph" | "code" | "table"} kind
 * @property {any} element
 * @property {string} [raw]
 * @property {number} [kept]
 * @property {number} [size] characters that are settled
 * @property {boolean} [dirty] `raw` isn't what is shown
 * @property {string} [fence]
 * @property {number} [indent]
 * @property {boolean} [empty] no line of code yet
 * @property {string[]} [aligned] a table's columns
 */

const DEEPEST = 16
/** Characters of a paragraph from which on its beginning is settled. */
const LONG = 2000
/** Of one that goes on in another element: the browser lays out a whole one, however little of it is new. */
const LONGEST = 20_000
/** Characters of a line from which on it is what it looks like, though more of it may come. */
const SURE = 1000

const QUOTE = /^ {0,3}> ?/
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?: +|$)/
const TASK = /^\[([ xX])\] /
const FENCE = /^( *)(`{3,}|~{3,})([^`]*)$/
const HEADING = /^ {0,3}(#{1,6}) +/
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/
const ROW = /^ *\|? *:?-+:? *(?:\| *:?-+:? *)*\|? *$/
/** Marks alone: what they are is seen when more of the line is there. */
const MARKS = /^[\s\-*+_#>`~|:=\d.)[\]\\]*$/
const FENCES = /^\s*[`~]+$/

/**
 * @returns {any} an element; `write(text)` adds to it, `end()` says that no more comes
 */
export function markdown() {
  const element = h("div.markdown"), blocks = new Blocks(element)
  element.write = (/** @type {string} */ text) => blocks.write(text)
  element.end = () => blocks.end()
  return element
}

class Blocks {
  /** @param {HTMLElement} element */
  constructor(element) {
    /** @type {Container[]} */
    this.stack = [{kind: "root", element}]
    /** @type {Leaf | null} */
    this.leaf = null
    /** What has come of the last line. */
    this.rest = ""
    /** Whether `rest` goes on in the block that is open, wherever its line began. */
    this.inside = false
    /** @type {{stack: Container[], leaf: Leaf | null, made: ChildNode[]} | null} */
    this.before = null
  }

  /** @param {string} text */
  write(text) {
    this.takeBack()
    const lines = (this.rest + text).split("\n")
    this.rest = lines.pop() ?? ""
    for (const each of lines) this.whole(each)
    this.glimpse()
    this.draw()
  }

  end() {
    this.takeBack()
    if (this.rest) this.whole(this.rest)
    this.rest = ""
    this.leave()
  }

  /** Show what has come of the last line. */
  glimpse() {
    if (!this.rest || (this.inside ? false : this.leaf?.kind === "code" ? FENCES.test(this.rest) : MARKS.test(this.rest))) return
    const {stack, leaf} = this
    this.before = {stack: [...stack], leaf: leaf && {...leaf}, made: []}
    this.line(this.rest)
    if (this.rest.length < SURE || (this.leaf?.kind !== "paragraph" && this.leaf?.kind !== "code")) return
    this.takeBack()
    this.line(this.rest)
    this.inside = true
    this.rest = ""
  }

  takeBack() {
    if (!this.before) return
    for (const each of this.before.made) each.remove()
    this.stack = this.before.stack
    this.leaf = this.before.leaf
    if (this.leaf?.kind === "paragraph") this.leaf.dirty = true
    this.before = null
  }

  /** @param {Node} parent @param {ChildNode} node */
  put(parent, node) {
    parent.appendChild(node)
    this.before?.made.push(node)
  }

  /** @param {string} text a line that is all there */
  whole(text) {
    this.line(text.replace(/\r$/, ""))
    this.inside = false
  }

  /** @param {string} text */
  line(text) {
    if (this.inside) {
      this.more(text)
      return
    }
    let rest = text, depth = 1
    for (; depth < this.stack.length; depth += 1) {
      const next = goesOn(this.stack[depth], rest)
      if (next === null) break
      rest = next
    }
    const all = depth === this.stack.length
    if (all && this.leaf?.kind === "code") {
      this.codeLine(this.leaf, rest)
      return
    }
    if (!rest.trim()) {
      this.leave()
      this.stack.length = depth
      return
    }
    if (!all && this.leaf?.kind === "paragraph" && !begins(rest)) {
      this.more(`\n${rest.trim()}`)
      return
    }
    const closed = this.stack[depth]
    if (!all) this.leave()
    this.stack.length = depth
    this.block(this.open(rest, closed))
  }

  /** Open quotes and items. @param {string} text @param {Container | undefined} closed the one that was open here @returns {string} what they hold */
  open(text, closed) {
    while (this.stack.length < DEEPEST && text) {
      const quote = QUOTE.exec(text), item = this.itemOf(text)
      if (!quote && !item) break
      this.leave()
      if (quote) this.enter({kind: "quote", element: h("blockquote")}, this.top)
      else if (item) {
        const [, edge, mark] = item, type = mark[mark.length - 1]
        let list = closed?.mark === type ? closed.list : undefined
        if (!list) {
          list = type === "." || type === ")" ? h("ol", {start: parseInt(mark)}) : h("ul")
          this.put(this.top, /** @type {HTMLElement} */ (list))
        }
        this.enter({kind: "item", element: h("li"), list, mark: type, edge: edge.length, indent: edge.length + mark.length + 1}, /** @type {HTMLElement} */ (list))
      }
      text = text.slice((quote ?? item)?.[0].length)
      if (item) text = text.replace(TASK, (_, done) => done === " " ? "☐ " : "☑ ")
      closed = undefined
    }
    return text
  }

  /** @param {string} text */
  itemOf(text) {
    const item = RULE.test(text) ? null : ITEM.exec(text)
    // A figure that a line in a paragraph happens to begin with begins no list.
    return item && this.leaf?.kind === "paragraph" && !/^([-*+]|1[.)])$/.test(item[2]) ? null : item
  }

  /** @param {Container} container @param {HTMLElement} parent */
  enter(container, parent) {
    this.put(parent, container.element)
    this.stack.push(container)
  }

  get top() {
    return this.stack[this.stack.length - 1].element
  }

  /** @param {string} text what a line holds besides its containers' marks */
  block(text) {
    if (!text.trim()) return
    const fence = FENCE.exec(text), heading = HEADING.exec(text)
    if (fence) {
      this.leave()
      const element = codeBlock(fence[3].trim().split(/\s/)[0])
      this.put(this.top, element)
      this.leaf = {kind: "code", element, fence: fence[2], indent: fence[1].length, empty: true}
    } else if (heading) {
      this.leave()
      const said = text.slice(heading[0].length).trim().replace(/ #+$/, "")
      // A page has its own title, and the conversation its own, above those of an answer.
      this.put(this.top, h(`h${Math.min(6, heading[1].length + 2)}.h${heading[1].length}`, {}, inline(said)))
    } else if (RULE.test(text)) {
      this.leave()
      this.put(this.top, h("hr"))
    } else if (this.leaf?.kind === "table") this.row(this.leaf, text)
    else if (this.leaf && ROW.test(text) && this.table(this.leaf, text)) return
    else if (this.leaf) this.more(`\n${text.trim()}`)
    else {
      const element = h("p")
      this.put(this.top, element)
      this.leaf = {kind: "paragraph", element, raw: text.trimStart(), kept: 0, dirty: true}
    }
  }

  /** Go on with the block that is open. @param {string} text */
  more(text) {
    const leaf = this.leaf
    if (leaf?.kind === "code") this.code(leaf, text)
    else if (leaf) {
      leaf.raw += text
      leaf.dirty = true
    }
  }

  /** @param {Leaf} leaf @param {string} text */
  codeLine(leaf, text) {
    const {fence = "", indent = 0} = leaf, said = text.trim()
    if (said.length >= fence.length && said === fence[0].repeat(said.length)) {
      this.leave()
      return
    }
    let cut = 0
    while (cut < indent && text[cut] === " ") cut += 1
    this.code(leaf, `${leaf.empty ? "" : "\n"}${text.slice(cut)}`)
    leaf.empty = false
  }

  /** @param {Leaf} leaf @param {string} text */
  code(leaf, text) {
    if (this.before) this.put(leaf.element.end, document.createTextNode(text))
    else leaf.element.add(text)
  }

  /** Make a table of a paragraph's last line, if the line below it says that it is one. @param {Leaf} leaf @param {string} text */
  table(leaf, text) {
    const raw = leaf.raw ?? "", cut = raw.lastIndexOf("\n"), titles = cellsOf(raw.slice(cut + 1)), columns = cellsOf(text)
    if (titles.length !== columns.length || !text.includes("|")) return false
    const aligned = columns.map(each => each.endsWith(":") ? each.startsWith(":") ? "center" : "right" : "left")
    const body = h("tbody")
    leaf.raw = raw.slice(0, Math.max(0, cut))
    leaf.dirty = true
    this.leave()
    if (!leaf.raw && !leaf.kept) leaf.element.remove()
    this.put(this.top, h("div.table", {tabindex: 0, role: "region", "aria-label": "Table"}, h("table", {}, h("thead", {}, rowOf("th", titles, aligned)), body)))
    this.leaf = {kind: "table", element: body, aligned}
    return true
  }

  /** @param {Leaf} leaf @param {string} text */
  row(leaf, text) {
    const {aligned = []} = leaf
    this.put(leaf.element, rowOf("td", aligned.map((_, place) => cellsOf(text)[place] ?? ""), aligned))
  }

  /** Close the block that is open. */
  leave() {
    this.draw()
    this.leaf = null
  }

  draw() {
    const leaf = this.leaf
    if (leaf?.kind !== "paragraph" || !leaf.dirty) return
    let {raw = "", kept = 0, size = 0, element} = leaf
    while (element.childNodes.length > kept) element.lastChild.remove()
    while (!this.before && raw.length > LONG) {
      const cut = settled(raw)
      element.append(...inline(raw.slice(0, cut)))
      raw = raw.slice(cut)
      size += cut
      if (size > LONGEST) {
        element = h("p")
        this.top.append(element)
        size = 0
      }
      kept = element.childNodes.length
    }
    element.append(...inline(raw))
    Object.assign(leaf, {element, raw, kept, size, dirty: false})
  }
}

/** What a line holds of a container; null: it isn't in it. @param {Container} container @param {string} text */
function goesOn({kind, edge = 0, indent = 0}, text) {
  if (kind === "quote") return QUOTE.test(text) ? text.replace(QUOTE, "") : null
  if (!text.trim()) return ""
  const spaces = text.length - text.trimStart().length
  // Many models indent by two, whatever the mark's width is.
  return spaces >= Math.min(indent, edge + 2) ? text.slice(Math.min(spaces, indent)) : null
}

/** Whether a line begins a block of its own. @param {string} text */
const begins = text => [QUOTE, ITEM, FENCE, HEADING, RULE].some(each => each.test(text))

/** Where a long text can be cut, so that no mark before it waits for one behind it. @param {string} text */
function settled(text) {
  const most = LONG / 2
  for (let at = text.lastIndexOf(" ", most); at > most / 2; at = text.lastIndexOf(" ", at - 1)) {
    const before = text.slice(0, at)
    if (["*", "`", "_", "~"].every(mark => before.split(mark).length % 2) && before.lastIndexOf("[") <= before.lastIndexOf(")")) return at
  }
  const space = text.lastIndexOf(" ", most)
  return space > 0 ? space : most
}

/** @param {string} text */
function cellsOf(text) {
  const cells = text.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "").split(/(?<!\\)\|/)
  return cells.map(each => each.trim().replaceAll("\\|", "|"))
}

/** @param {"th" | "td"} kind @param {string[]} cells @param {string[]} aligned */
function rowOf(kind, cells, aligned) {
  return h("tr", {}, cells.map((each, place) => h(kind, {class: aligned[place], scope: kind === "th" ? "col" : null}, inline(each))))
}
