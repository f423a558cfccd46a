/**
 * What differs between two texts, by lines.
 * @module
 */

/** @typedef {{kind: "same" | "gone" | "new", text: string}} Line */

/** Pairs of lines that are compared at most; of more, all between the first and the last difference counts as changed. */
const MOST = 4_000_000

/** @param {string} before @param {string} after @returns {Line[]} */
export function difference(before, after) {
  const old = before.split("\n"), now = after.split("\n")
  let top = 0, tail = 0
  while (top < Math.min(old.length, now.length) && old[top] === now[top]) top += 1
  while (tail < Math.min(old.length, now.length) - top && old[old.length - 1 - tail] === now[now.length - 1 - tail]) tail += 1
  const same = (/** @type {string} */ text) => ({kind: /** @type {const} */ ("same"), text})
  return [...old.slice(0, top).map(same), ...between(old.slice(top, old.length - tail), now.slice(top, now.length - tail)), ...old.slice(old.length - tail).map(same)]
}

/** The longest lines in common, by dynamic programming. @param {string[]} old @param {string[]} now @returns {Line[]} */
function between(old, now) {
  const wide = now.length + 1, common = old.length * now.length > MOST ? null : new Uint32Array((old.length + 1) * wide)
  if (common) {
    for (let i = old.length - 1; i >= 0; i -= 1) {
      for (let j = now.length - 1; j >= 0; j -= 1) {
        common[i * wide + j] = old[i] === now[j] ? common[(i + 1) * wide + j + 1] + 1 : Math.max(common[(i + 1) * wide + j], common[i * wide + j + 1])
      }
    }
  }
  /** @type {Line[]} */
  const lines = []
  let i = 0, j = 0
  while (i < old.length || j < now.length) {
    if (common && i < old.length && j < now.length && old[i] === now[j]) {
      lines.push({kind: "same", text: old[i]})
      i += 1
      j += 1
    } else if (i < old.length && (!common || j === now.length || common[(i + 1) * wide + j] >= common[i * wide + j + 1])) lines.push({kind: "gone", text: old[i++]})
    else lines.push({kind: "new", text: now[j++]})
  }
  return lines
}
