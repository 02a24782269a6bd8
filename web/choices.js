// What the lists of nodes offer, in the page's language. Graphs keep the choices themselves; a page that knows no labels of choices shows these.

import { app } from '../../scripts/app.js'
import { loadTable, table } from './language.js'
import { isOurs } from './own_nodes.js'

// The pack's own media, which the page can show only as files of the temporary folder.
const DEMO_FILE = /^depth_normal\/(.+) \[temp\]$/

/** @param {unknown} choice @returns {string | undefined} What English says of a choice whose own words explain nothing. */
const english = choice => String(choice).match(DEMO_FILE) ? String(choice).replace(DEMO_FILE, '$1 (demo)') : undefined

/** @param {string} name Of the list. @param {unknown} choice @returns {string | undefined} Its label, if it has one. */
export const labelOf = (name, choice) => table.choices[`${name}.${choice}`] ?? table.choices[String(choice)] ?? english(choice)

/** @param {any} node */
function decorate(node) {
  if (!isOurs(node)) return
  const { required, optional } = node.constructor.nodeData.input ?? {}
  for (const widget of node.widgets ?? []) {
    // Not the lists that the page adds, such as what happens to a seed after a run; and lists of models have labels already.
    const [kind, options] = (optional?.[widget.name] ?? required?.[widget.name]) ?? []
    const choices = Array.isArray(kind) ? kind : options?.options
    if (!Array.isArray(choices) || widget.options?.getOptionLabel || !choices.some(choice => labelOf(widget.name, choice))) continue
    widget.options.getOptionLabel = choice => labelOf(widget.name, choice) ?? String(choice ?? '')
  }
}

app.registerExtension({
  name: 'DepthNormal.Choices',
  // The page has no global app yet.
  init: () => loadTable(app.extensionManager?.setting?.get('Comfy.Locale')),
  nodeCreated: decorate,
})
