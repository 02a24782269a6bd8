// What the page asks its server, and what it says when that fails.

import { translatedMessage } from '../web/language.mjs'
import { translated } from '../web/words.mjs'

const TOKEN = 'depth-normal token'
const PATIENCE = 300

/** An answer that says why something is not done. */
export class Refused extends Error {
  /** @param {number} status Of HTTP; 0: the server was not reached. @param {string} words In the page's language. */
  constructor(status, words) {
    super(words)
    this.status = status
  }
}

/**
 * Takes the token out of the page's address, so that it stays out of the history and of what is seen of the screen. The tab keeps it, also
 * over a reload: unlike a cookie it reaches no server of another port.
 * @returns {boolean} Whether there was one.
 */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')
  if (!token) return false
  sessionStorage.setItem(TOKEN, token)
  history.replaceState(null, '', location.pathname)
  return true
}

/** Gives other tabs of this page the token, and takes it from them where this one has none. Browsers let no page of another port listen. */
async function shareToken() {
  const tabs = new BroadcastChannel(TOKEN)
  await new Promise(resolve => {
    tabs.addEventListener('message', ({ data }) => {
      const token = sessionStorage.getItem(TOKEN)
      if (data && !token) { sessionStorage.setItem(TOKEN, data); resolve() }
      else if (!data && token) tabs.postMessage(token)
    })
    if (sessionStorage.getItem(TOKEN)) return resolve()
    tabs.postMessage('')
    setTimeout(resolve, PATIENCE)
  })
}

// The address of another run of the server may be opened in the same tab.
addEventListener('hashchange', () => { if (takeToken()) location.reload() })
takeToken()
await shareToken()

/**
 * @param {string} path
 * @param {{ method?: string, body?: Blob, query?: Record<string, string>, signal?: AbortSignal }} options
 * @returns {Promise<Response>}
 * @throws {Refused}
 */
async function answerOf(path, { method = 'GET', body, query, signal }) {
  const headers = { 'X-Depth-Normal-Token': sessionStorage.getItem(TOKEN) ?? '' }
  let answer
  try {
    answer = await fetch(query ? `${path}?${new URLSearchParams(query)}` : path, { method, body, headers, signal, cache: 'no-store' })
  } catch {
    throw new Refused(0, translated('the server does not answer; start `depth-normal ui` again and open the address that it prints'))
  }
  if (answer.ok) return answer
  const said = await answer.json().catch(() => ({}))
  throw new Refused(answer.status, said.error ? worded(said.error, said.values) : `HTTP ${answer.status}`)
}

/**
 * @param {string} path
 * @param {{ method?: string, body?: Blob, query?: Record<string, string>, signal?: AbortSignal }} [options]
 * @returns {Promise<any>} The answer's JSON; null where nothing has changed.
 * @throws {Refused}
 */
export async function ask(path, options = {}) {
  const answer = await answerOf(path, options)
  return answer.status === 204 ? null : answer.json()
}

/** A file of the server under an address for this page alone; whoever asks revokes it. @param {string} path @returns {Promise<string>} */
export async function blobAddress(path) {
  return URL.createObjectURL(await (await answerOf(path, {})).blob())
}

/** Shows an image of the server. @param {HTMLImageElement} image @param {string} path */
export async function showImage(image, path) {
  image.dataset.path = path
  const address = await blobAddress(path).catch(() => null)
  if (image.dataset.path !== path) return address && URL.revokeObjectURL(address)
  // A damaged file has no small image: its place stays empty, without a browser's sign of a broken image.
  image.src = address ?? 'data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7'
  if (address) await image.decode().catch(() => {}).then(() => URL.revokeObjectURL(address))
}

/** What Python says, in the page's language where there is a translation. @param {string} words @param {string[]} [values] @returns {string} */
export function worded(words, values = []) {
  if (words === '{0}') return translatedMessage(values[0]) ?? values[0]
  return values.length ? translated(words, ...values) : translatedMessage(translated(words)) ?? translated(words)
}
