// Lists of models in ComfyUI's page: beside each, where it is, its size, what it gives and its licence. Graphs keep the bare names.

import { app } from '../../scripts/app.js'
import { translatedParts } from './words.js'

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
function decorate(node, definition) {
  for (const [name, labels] of labelsOf(definition)) {
    const widget = node.widgets?.find(widget => widget.name === name)
    if (!widget) continue
    widget.options.getOptionLabel = value => translatedParts(labels[value] ?? String(value ?? ''))
    // On the canvas the closed widget has room for its name and the choice alone; only the open list shows more.
    if ('_displayValue' in widget) Object.defineProperty(widget, '_displayValue', { configurable: true, get() { return String(this.value) } })
  }
}

app.registerExtension({
  name: 'depth_normal.model_list',

  nodeCreated: node => decorate(node, node.constructor?.nodeData),

  // The key R asks the server again: what was downloaded meanwhile is on the disk by now.
  refreshComboInNodes: definitions => {
    for (const node of app.graph?.nodes ?? []) decorate(node, definitions?.[node.type])
  },
})
