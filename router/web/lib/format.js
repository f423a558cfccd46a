/**
 * Figures as people read them. Units come as the API has them: seconds, bytes.
 * @module
 */

const NONE = "–"

/** @param {number | null | undefined} bytes */
export function bytes(bytes) {
  if (bytes == null) return NONE
  const units = ["B", "KiB", "MiB", "GiB", "TiB"]
  let place = 0
  while (Math.abs(bytes) >= 1000 && place < units.length - 1) {
    bytes /= 1024
    place += 1
  }
  return `${digits(bytes)} ${units[place]}`
}

/** @param {number | null | undefined} seconds a duration */
export function duration(seconds) {
  if (seconds == null) return NONE
  if (seconds < 1) return `${digits(seconds * 1000)} ms`
  if (seconds < 60) return `${digits(seconds)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds % 86400 / 3600)} h`
}

/** @param {number | null | undefined} value @param {string} [unit] */
export function number(value, unit = "") {
  return value == null ? NONE : `${digits(value)}${unit && ` ${unit}`}`
}

/** @param {number | null | undefined} share 0 to 1 */
export function percent(share) {
  return share == null ? NONE : `${Math.round(share * 100)} %`
}

/** @param {number | null | undefined} at seconds since the epoch @returns {string} the time of day, with seconds */
export function clock(at) {
  return at == null ? NONE : new Date(at * 1000).toLocaleTimeString(undefined, {hourCycle: "h23"})
}

/** @param {number | null | undefined} at seconds since the epoch */
export function moment(at) {
  return at == null ? NONE : new Date(at * 1000).toLocaleString(undefined, {hourCycle: "h23"})
}

/** @param {number} value three digits that count, or the whole number if it has more */
function digits(value) {
  const size = Math.abs(value)
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString()
  return size >= 10 ? value.toFixed(1) : value.toFixed(2)
}
