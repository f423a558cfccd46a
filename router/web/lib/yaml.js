/**
 * Data as YAML.
 * @module
 */

const PLAIN = /^(?!(?:true|false|null|yes|no|on|off)$)(?:\d+[A-Za-z]+|[A-Za-z_/](?:[\w ./-]*[\w./-])?)$/i

/** @param {any} value what JSON can hold @param {string} [indent] @returns {string} with an end of line */
export function yaml(value, indent = "") {
  return entries(value).map(([mark, each]) => {
    if (!isFilled(each)) return `${indent}${mark} ${scalar(each)}\n`
    const inner = yaml(each, `${indent}  `)
    // An entry of a list begins on the line of its dash.
    return mark === "-" ? `${indent}- ${inner.slice(indent.length + 2)}` : `${indent}${mark}\n${inner}`
  }).join("")
}

/** @param {any} value @returns {[string, any][]} */
const entries = value => Array.isArray(value) ? value.map(each => ["-", each]) : Object.entries(value).map(([name, each]) => [`${scalar(name)}:`, each])
/** @param {any} value */
const isFilled = value => value !== null && typeof value === "object" && Object.keys(value).length > 0
/** @param {any} value @returns {string} */
const scalar = value => typeof value === "string" && PLAIN.test(value) ? value : JSON.stringify(value)
