// The page's language, and what the pack says in it that ComfyUI's own locales have no place for. docs/make_locales.py writes the files.

/** The languages that have a file in languages/. */
export const LANGUAGES = ['ja', 'zh']

/**
 * Texts by their English; empty in English and until `loadTable` is done.
 * @type {{ choices: Record<string, string>, messages: Record<string, string>, notes: Record<string, string> }}
 */
export const table = { choices: {}, messages: {}, notes: {} }

/** @type {{ found: RegExp, order: number[], words: string }[]} */
let templates = []

let own

/** Sets the language of a page that is not ComfyUI's. @param {string} locale */
export function setLanguage(locale) {
  own = locale
}

/** @returns {string | undefined} The setting of ComfyUI's page. */
export const language = () => own ?? globalThis.app?.extensionManager?.setting?.get('Comfy.Locale')

/** Reads the texts of a language. Without them the page stays English. @param {string | undefined} language */
export async function loadTable(language) {
  if (!LANGUAGES.includes(language)) return
  try {
    const answer = await fetch(new URL(`./languages/${language}.json`, import.meta.url))
    if (answer.ok) setTable(await answer.json())
  } catch (error) {
    console.warn('Depth & Normals: no translations of lists, messages and notes:', error)
  }
}

/** @param {Partial<typeof table>} texts */
export function setTable(texts) {
  Object.assign(table, texts)
  // The most literal first: "running {0} of {1}" is not "running {0}".
  const literal = template => template.replace(/\{\d\}/g, '').length
  templates = Object.entries(table.messages).sort(([one], [other]) => literal(other) - literal(one)).map(([template, words]) => ({
    found: new RegExp(`^${template.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/\\\{\d\\\}/g, '(.+?)')}$`, 's'),
    order: [...template.matchAll(/\{(\d)\}/g)].map(([, place]) => Number(place)),
    words,
  }))
}

/** Stands between the messages of a line. */
const BETWEEN = /(; |: |, )/

/**
 * Translates what Python says while a node runs, or when it fails. What stands in it for a value is kept, or is a message itself.
 * @param {string} text
 * @param {(value: string) => boolean} [isValue] Whether a value may be this one.
 * @returns {string | null} null: there is no translation.
 */
export function translatedMessage(text, isValue = () => true) {
  for (const { found, order, words } of templates) {
    const values = text.match(found)?.slice(1)
    if (values?.every(isValue)) return words.replace(/\{(\d)\}/g, (_, place) => translatedLine(values[order.indexOf(Number(place))]))
  }
  return null
}

/**
 * Translates a line that Python puts together of several messages: notes, then what runs; what was made, then its share of the image.
 * @param {string} text
 * @returns {string} What is no message stays as it is.
 */
export function translatedLine(text = '') {
  const parts = text.split(BETWEEN)
  // First messages whose values are single ones: in a longer one the next message would be taken for a part of the last value.
  for (const isValue of [value => !BETWEEN.test(value), () => true]) {
    for (let end = parts.length; end > 0; end -= 2) {
      const own = translatedMessage(parts.slice(0, end).join(''), isValue)
      if (own !== null) return own + (parts[end] ?? '') + translatedLine(parts.slice(end + 1).join(''))
    }
  }
  return parts.length > 1 ? parts[0] + parts[1] + translatedLine(parts.slice(2).join('')) : text
}
