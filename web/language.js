// The page's language, and what the pack says in it that ComfyUI's own locales have no place for. docs/make_locales.py writes the files.

/** The languages that have a file in languages/. */
export const LANGUAGES = ['ja', 'zh']

/** @type {{ choices: Record<string, string> }} Texts by their English; empty in English and until `loadTable` is done. */
export const table = { choices: {} }

/** @returns {string | undefined} The setting of ComfyUI's page. */
export const language = () => globalThis.app?.extensionManager?.setting?.get('Comfy.Locale')

/** Reads the texts of the page's language. Without them the page stays English. */
export async function loadTable() {
  if (!LANGUAGES.includes(language())) return
  try {
    const answer = await fetch(new URL(`./languages/${language()}.json`, import.meta.url))
    if (answer.ok) Object.assign(table, await answer.json())
  } catch (error) {
    console.warn('Depth & Normals: no translations of lists, messages and notes:', error)
  }
}
