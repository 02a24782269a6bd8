// What the lists of nodes offer, in the page's language, and of models where each is, its size, what it gives and its licence.
// Graphs keep the choices themselves; a page that knows no labels of choices shows these.

import { app } from '../../scripts/app.js'
import { loadTable, table } from './language.mjs'
import { allNodes, isOurs } from './nodes.mjs'
import { translatedParts } from './words.mjs'

// The pack's own media, which the page can show only as files of the temporary folder.
const DEMO_FILE = /^depth_normal\/(.+) \[temp\]$/

/** @param {unknown} choice @returns {string | undefined} What English says of a choice whose own words explain nothing. */
const english = choice => String(choice).match(DEMO_FILE) ? String(choice).replace(DEMO_FILE, '$1 (demo)') : undefined

/** @param {string} name Of the list. @param {unknown} choice @returns {string | undefined} Its label, if it has one. */
export const labelOf = (name, choice) => table.choices[`${name}.${choice}`] ?? table.choices[String(choice)] ?? english(choice)

/** @param {any} node */
function labelChoices(node) {
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
  nodeCreated: labelChoices,
})

const LABELS = 'depth_normal_labels'

/**
 * What the server says of a node's choices, by the widget's name.
 * @param {any} definition Of the node, as /object_info has it.
 * @returns {[string, Record<string, string>][]}
 */
function labelsOf(definition) {
  const inputs = { ...definition?.input?.required, ...definition?.input?.optional }
  return Object.entries(inputs).filter(([, input]) => input?.[1]?.[LABELS]).map(([name, input]) => [name, input[1][LABELS]])
}

/** @param {any} node @param {any} definition */
function labelModels(node, definition) {
  for (const [name, labels] of labelsOf(definition)) {
    const widget = node.widgets?.find(widget => widget.name === name)
    if (!widget) continue
    widget.options.getOptionLabel = value => translatedParts(labels[value] ?? String(value ?? ''))
    // On the canvas the closed widget has room for its name and the choice alone; only the open list shows more.
    if ('_displayValue' in widget) Object.defineProperty(widget, '_displayValue', { configurable: true, get() { return String(this.value) } })
  }
}

app.registerExtension({
  name: 'DepthNormal.ModelList',

  nodeCreated: node => labelModels(node, node.constructor?.nodeData),

  // The key R asks the server again: what was downloaded meanwhile is on the disk by now.
  refreshComboInNodes: definitions => {
    for (const node of allNodes()) labelModels(node, definitions?.[node.type])
  },
})
