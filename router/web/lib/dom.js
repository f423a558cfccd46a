/**
 * Builds elements. Text is always text: nothing that comes from a model, a log or a name is ever read as HTML.
 * @module
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Make an element: `h("button.primary", {onclick: go, disabled: true}, "Load")`.
 *
 * A property that begins with `on` is a listener, `class` and those with a dash are attributes, and so is whatever the
 * element has no property for. One that is null, undefined or false is left out.
 * @param {string} what the tag, and classes behind dots
 * @param {Record<string, any>} [properties]
 * @param {...(Child | Child[])} children
 * @returns {any} the element; any, so that its own properties can be used without a cast
 */
export function h(what, properties = {}, ...children) {
  const [tag, ...classes] = what.split(".")
  const element = document.createElement(tag)
  if (classes.length) element.className = classes.join(" ")
  set(element, properties)
  element.append(...kept(children))
  return element
}

const SVG = "http://www.w3.org/2000/svg"

/**
 * Make an element of SVG.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {any}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) if (value != null && value !== false) element.setAttribute(name, value)
  element.append(...kept(children))
  return element
}

/**
 * Replace what is in an element.
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...kept(children))
}

/** @param {(Child | Child[])[]} children @returns {(Node | string)[]} */
function kept(children) {
  return children.flat().filter(each => each != null && each !== false).map(each => typeof each === "number" ? String(each) : each)
}

/** @param {any} element @param {Record<string, any>} properties */
function set(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value == null || value === false) continue
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value)
    else if (name !== "class" && name in element && !name.includes("-") && typeof element[name] !== "object") element[name] = value
    else if (name === "style" || name === "dataset") Object.entries(value).forEach(([key, one]) => name === "style" ? element.style.setProperty(key, one) : element.dataset[key] = one)
    else element.setAttribute(name, value === true ? "" : value)
  }
}

/**
 * Bring the children of an element in line with a list, and touch only what differs: so a focus, a selection and an
 * opened detail stay where they are while figures change.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string} keyOf one that no other item has
 * @param {(item: T) => HTMLElement & {update?: (item: T) => void}} make gives an element; its `update` takes a later state
 */
export function keyed(parent, items, keyOf, make) {
  /** @type {Map<string, any>} */
  const there = new Map([...parent.children].map(each => [/** @type {any} */ (each).key, each]))
  let before = /** @type {any} */ (null)
  for (const item of items) {
    const key = keyOf(item)
    let element = there.get(key)
    there.delete(key)
    if (!element) {
      element = make(item)
      element.key = key
    } else if (element.item !== item) element.update?.(item)
    element.item = item
    const next = before ? before.nextSibling : parent.firstChild
    if (next !== element) parent.insertBefore(element, next)
    before = element
  }
  for (const gone of there.values()) gone.remove()
}

/**
 * Set an element's text, if it differs.
 * @param {Node} element @param {string} text
 */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text
}
