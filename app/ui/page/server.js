// What the page asks its server, and what it says when that fails.

import { translatedMessage } from '../web/language.js'
import { translated } from '../web/words.js'

/** An answer that says why something is not done. */
export class Refused extends Error {
  /** @param {number} status Of HTTP; 0: the server was not reached. @param {string} words In the page's language. */
  constructor(status, words) {
    super(words)
    this.status = status
  }
}

/**
 * @param {string} path
 * @param {{ method?: string, body?: Blob, query?: Record<string, string> }} [options]
 * @returns {Promise<any>} The answer's JSON; null where nothing has changed.
 * @throws {Refused}
 */
export async function ask(path, { method = 'GET', body, query } = {}) {
  let answer
  try {
    answer = await fetch(query ? `${path}?${new URLSearchParams(query)}` : path, { method, body, cache: 'no-store' })
  } catch {
    throw new Refused(0, translated('the server does not answer; start `depth-normal ui` again and open the address that it prints'))
  }
  if (answer.status === 204) return null
  const said = await answer.json().catch(() => ({}))
  if (answer.ok) return said
  throw new Refused(answer.status, said.error ? worded(said.error, said.values) : `HTTP ${answer.status}`)
}

/** What Python says, in the page's language where there is a translation. @param {string} words @param {string[]} [values] @returns {string} */
export function worded(words, values = []) {
  if (words === '{0}') return translatedMessage(values[0]) ?? values[0]
  return values.length ? translated(words, ...values) : translatedMessage(translated(words)) ?? translated(words)
}
