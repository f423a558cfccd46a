/**
 * Asks the router. Keys are kept for this tab alone, and sent as a header: there is no cookie that another site's page
 * could make use of.
 * @module
 */

const ADMIN = "router.admin-key", CLIENT = "router.client-key"

/** Why the router refused, or could not be reached: `status` is 0 then. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status @param {any} [told] the answer's body */
  constructor(message, status, told) {
    super(message)
    this.status = status
    this.told = told
  }
}

/** @returns {string} the key of the admin who signed in; empty: none */
export const adminKey = () => sessionStorage.getItem(ADMIN) ?? ""
/** @param {string} key */
export const signIn = key => key ? sessionStorage.setItem(ADMIN, key) : sessionStorage.removeItem(ADMIN)
/** @returns {string} the key for /v1, where clients need one */
export const clientKey = () => sessionStorage.getItem(CLIENT) ?? ""
/** @param {string} key */
export const useClientKey = key => key ? sessionStorage.setItem(CLIENT, key) : sessionStorage.removeItem(CLIENT)

/**
 * Send a request, and give its response whatever its status.
 * @param {string} path
 * @param {{method?: string, json?: any, text?: string, headers?: Record<string, string>, signal?: AbortSignal}} [options]
 * @returns {Promise<Response>} raises ApiError where nothing answers
 */
export async function send(path, {method, json, text, headers = {}, signal} = {}) {
  const key = path.startsWith("/v1/") ? clientKey() || adminKey() : adminKey()
  const body = json === undefined ? text : JSON.stringify(json)
  const all = {...headers}
  if (key) all.authorization = `Bearer ${key}`
  if (json !== undefined) all["content-type"] = "application/json"
  try {
    return await fetch(path, {method: method ?? (body === undefined ? "GET" : "POST"), body, headers: all, signal, credentials: "omit"})
  } catch (error) {
    if (signal?.aborted) throw error
    throw new ApiError("The router can't be reached.", 0)
  }
}

/**
 * Ask for JSON. Raises ApiError, with the router's own words, for any status that is an error.
 * @param {string} path @param {Parameters<typeof send>[1]} [options]
 * @returns {Promise<any>}
 */
export async function ask(path, options) {
  const response = await send(path, options)
  if (!response.ok) throw await refusal(response)
  return response.json()
}

/** Do what changes something. @param {string} path @param {any} [json] @returns {Promise<any>} */
export const act = (path, json = {}) => ask(path, {method: "POST", json})

/** @param {Response} response @returns {Promise<ApiError>} */
export async function refusal(response) {
  const text = await response.text()
  let told
  try { told = JSON.parse(text) } catch { /* it isn't the router's own */ }
  const said = told?.error?.message ?? told?.error ?? told?.problems?.map(whole).join("\n")
  return new ApiError(said || text.slice(0, 500) || `${response.status} ${response.statusText}`, response.status, told)
}

/** A mistake in one line, as the router's log has it. @param {{file: string | null, line: number | null, column: number | null, key: string, message: string}} each */
export function whole({file, line, column, key, message}) {
  const at = [file, line, column].filter(part => part !== null).join(":")
  return at ? `${at}${key && ` ${key}`}: ${message}` : message
}

/** One part of a path, whatever a name has in it: slashes stay, as the router's paths have them. @param {string} name */
export const part = name => name.split("/").map(encodeURIComponent).join("/")
