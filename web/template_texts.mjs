// Titles and notes of the pack's workflows in the page's language.

import { table } from './language.mjs'

const NOTES = new Set(['Note', 'MarkdownNote'])
/** What stands before a line in Markdown; docs/make_locales.py leaves it out, too. */
const MARK = /^(#+ |\d+\. |- )/

/** @param {string} words A title, a line or a workflow's name. @returns {string} In the page's language where there is a translation. */
export const own = words => table.notes[words] ?? words

/** @param {string} text @returns {string} The lines that have a translation in it, the rest in English. */
export function translatedNote(text) {
  return text.split('\n').map(line => {
    const [mark = ''] = line.match(MARK) ?? []
    return mark + own(line.slice(mark.length))
  }).join('\n')
}

/**
 * @param {any} graph As a workflow's file holds it.
 * @returns {any} The same with what its nodes, notes, groups and subgraphs say translated.
 */
export function translatedGraph(graph) {
  const copy = structuredClone(graph)
  for (const part of [copy, ...(copy.definitions?.subgraphs ?? [])]) {
    if (part !== copy && part.name) part.name = own(part.name)
    for (const each of [...(part.groups ?? []), ...(part.nodes ?? [])]) {
      if (each.title) each.title = own(each.title)
      if (NOTES.has(each.type) && typeof each.widgets_values?.[0] === 'string') each.widgets_values[0] = translatedNote(each.widgets_values[0])
    }
  }
  return copy
}
