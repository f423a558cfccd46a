/**
 * Facts with their names.
 * @module
 */

import {h} from "../lib/dom.js"

/**
 * What a list of facts is filled with; what is no pair is left out.
 * @param {any[]} pairs each a name, and what is said of it
 * @returns {HTMLElement[]}
 */
export const factsOf = pairs => pairs.filter(Boolean).flatMap(([name, said]) => [h("dt", {}, name), h("dd", {}, said)])
