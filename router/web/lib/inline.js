/**
 * The text of one paragraph of Markdown: emphasis, code, links. It makes nodes, and whatever it doesn't know is text.
 *
 * It looks at each character a bounded number of times: a mark for which no closing one was found is looked for no more.
 * @module
 */

import {h} from "./dom.js"

/**
 * What was found at a mark, and where the text goes on behind it.
 * @typedef {{node: Node | string, end: number} | null} Found
 * @typedef {{text: string, depth: number, code: [number, number][], unclosed: Set<string>}} Reading
 */

const DEEPEST = 8
/** Longer texts in one piece are shown as they are. */
const LONGEST = 10_000
/** The longest label and address of a link. */
const LONGEST_LINK = 2000

const MARK = /[\\`*_~[!<]|https?:\/\//gi
const CODE = /(?<!`)(`+)(?!`)([^]*?[^`])\1(?!`)/g
const ESCAPED = /[!-/:-@[-`{-~]/
const WORD = /[\p{L}\p{N}]/u
const ADDRESS = /^https?:\/\/[^\s<>"]+$/i
const BARE_ADDRESS = /https?:\/\/[^\s<>"`]+/iy
const TARGET = /\(\s*<?([^\s<>()]*(?:\([^\s<>()]*\)[^\s<>()]*)*)>?(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/y

/**
 * @param {string} text @param {number} [depth] how many marks it stands in
 * @returns {(Node | string)[]}
 */
export function inline(text, depth = 0) {
  if (depth > DEEPEST || text.length > LONGEST) return [text]
  /** @type {(Node | string)[]} */
  const nodes = []
  /** @type {Reading} */
  const reading = {text, depth, code: spans(text), unclosed: new Set()}
  const marks = new RegExp(MARK)
  let done = 0
  for (let mark; (mark = marks.exec(text));) {
    const found = READERS[mark[0][0].toLowerCase()](reading, mark.index)
    if (!found) continue
    if (mark.index > done) nodes.push(text.slice(done, mark.index))
    nodes.push(found.node)
    done = marks.lastIndex = found.end
  }
  if (done < text.length) nodes.push(text.slice(done))
  return nodes
}

/** Where code stands: no mark in it counts. @param {string} text @returns {[number, number][]} */
const spans = text => text.includes("`") ? [...text.matchAll(CODE)].map(each => [each.index, each.index + each[0].length]) : []

/** @type {Record<string, (reading: Reading, at: number) => Found>} */
const READERS = {"\\": escaped, "`": code, "*": emphasis, "_": emphasis, "~": emphasis, "[": link, "!": link, "<": angled, h: address}

/** @param {Reading} reading @param {number} at @returns {Found} */
function escaped({text}, at) {
  const next = text[at + 1] ?? ""
  return next === "\n" ? {node: "", end: at + 1} : ESCAPED.test(next) ? {node: next, end: at + 2} : null
}

/** @param {Reading} reading @param {number} at @returns {Found} */
function code({text, code}, at) {
  const span = code.find(([begin]) => begin === at)
  if (!span) return {node: run(text, at), end: at + run(text, at).length}
  const marks = run(text, at).length, said = text.slice(at + marks, span[1] - marks)
  return {node: h("code", {}, /^ .*\S.* $/s.test(said) ? said.slice(1, -1) : said), end: span[1]}
}

/** All of the same mark that stand here. @param {string} text @param {number} at */
function run(text, at) {
  let end = at + 1
  while (text[end] === text[at]) end += 1
  return text.slice(at, end)
}

/** @param {Reading} reading @param {number} at @returns {Found} */
function emphasis(reading, at) {
  const {text, depth, unclosed} = reading, marks = run(text, at), behind = at + marks.length
  const asText = {node: marks, end: behind}
  if (marks.length > 3 || (marks[0] === "~" && marks.length !== 2)) return asText
  if (!/\S/.test(text[behind] ?? "") || (marks[0] === "_" && WORD.test(text[at - 1] ?? "")) || unclosed.has(marks)) return asText
  const end = closing(reading, marks, behind)
  if (end < 0) {
    unclosed.add(marks)
    return asText
  }
  const inner = inline(text.slice(behind, end), depth + 1)
  const node = marks[0] === "~" ? h("del", {}, inner) : marks.length === 1 ? h("em", {}, inner)
    : marks.length === 2 ? h("strong", {}, inner) : h("strong", {}, h("em", {}, inner))
  return {node, end: end + marks.length}
}

/** Where the same marks stand again, and close. @param {Reading} reading @param {string} marks @param {number} from */
function closing({text, code}, marks, from) {
  for (let at = text.indexOf(marks[0], from); at >= 0;) {
    const size = run(text, at).length, last = at + size - marks.length
    const closes = size >= marks.length && (marks.length > 1 || size !== 2) && /\S/.test(text[at - 1]) && text[at - 1] !== "\\"
      && !(marks[0] === "_" && WORD.test(text[at + size] ?? "")) && !code.some(([begin, end]) => begin < at && at < end)
    if (closes) return last
    at = text.indexOf(marks[0], at + size)
  }
  return -1
}

/** A link, or an image, which becomes a link: the page asks no other host for anything. @param {Reading} reading @param {number} at @returns {Found} */
function link({text, depth, unclosed}, at) {
  const opening = text[at] === "!" ? at + 1 : at
  if (text[opening] !== "[" || unclosed.has("](")) return null
  if (text.indexOf("](", opening) < 0) {
    unclosed.add("](")
    return null
  }
  const middle = bracket(text, opening)
  if (middle < 0) return null
  TARGET.lastIndex = middle + 1
  const target = TARGET.exec(text)
  if (!target || !ADDRESS.test(target[1])) return null
  const label = text.slice(opening + 1, middle)
  return {node: anchor(target[1], opening > at ? [label || "image"] : inline(label, depth + 1)), end: TARGET.lastIndex}
}

/** The bracket that closes one. @param {string} text @param {number} opening */
function bracket(text, opening) {
  const most = Math.min(text.length, opening + LONGEST_LINK)
  for (let at = opening, depth = 0; at < most; at += 1) {
    if (text[at] === "\\") at += 1
    else if (text[at] === "[" && (depth += 1) > DEEPEST) return -1
    else if (text[at] === "]" && (depth -= 1) === 0) return at
  }
  return -1
}

/** `<br>`, which models write into tables, and `<https://…>`. @param {Reading} reading @param {number} at @returns {Found} */
function angled({text}, at) {
  const end = text.indexOf(">", at) + 1
  if (!end || end - at > LONGEST_LINK) return null
  const said = text.slice(at + 1, end - 1)
  if (/^br ?\/?$/i.test(said)) return {node: h("br"), end}
  return ADDRESS.test(said) ? {node: anchor(said, [said]), end} : null
}

/** @param {Reading} reading @param {number} at @returns {Found} */
function address({text}, at) {
  BARE_ADDRESS.lastIndex = at
  let found = WORD.test(text[at - 1] ?? "") ? "" : BARE_ADDRESS.exec(text)?.[0] ?? ""
  // What ends a sentence isn't the address's; a bracket is, if it was opened in it.
  while (/[.,;:!?'*_~\]]$/.test(found) || (found.endsWith(")") && !found.includes("("))) found = found.slice(0, -1)
  return ADDRESS.test(found) && found.length <= LONGEST_LINK ? {node: anchor(found, [found]), end: at + found.length} : null
}

/** @param {string} href @param {(Node | string)[]} label */
const anchor = (href, label) => h("a", {href, title: href, rel: "noopener noreferrer", target: "_blank"}, label)
