// Colours are picked with ComfyUI's own picker where the page has one; in older pages they are typed. The server takes text either way.

import { app } from '../../scripts/app.js'
import { hexOf } from './light.js'

const COLOUR = 'depth_normal_colour'

/** @param {any} definition Of the node, as /object_info has it. @returns {string[]} Names of its colours. */
function coloursOf(definition) {
  const inputs = { ...definition?.input?.required, ...definition?.input?.optional }
  return Object.entries(inputs).filter(([, input]) => input?.[1]?.[COLOUR]).map(([name]) => name)
}

/** A picker at the place of a line of text, with its name, value and words. @param {any} node @param {string} name */
function exchange(node, name) {
  const at = node.widgets?.findIndex(widget => widget.name === name) ?? -1
  if (at < 0 || node.widgets[at].type === 'color') return
  // Taken out first: a node grows with each widget that is put in.
  const [text] = node.widgets.splice(at, 1)
  const picker = node.addWidget('color', name, text.value, text.callback ?? (() => {}), { ...text.options, serialize: true })
  for (const key of ['label', 'tooltip']) if (text[key] !== undefined) picker[key] = text[key]
  // The browser's own picker knows six digits alone, and takes anything else for black.
  const click = picker.onClick
  if (click) {
    picker.onClick = function (...values) {
      this.value = hexOf(this.value) ?? this.value
      return click.apply(this, values)
    }
  }
  node.widgets.splice(node.widgets.indexOf(picker), 1)
  node.widgets.splice(at, 0, picker)
}

app.registerExtension({
  name: 'DepthNormal.Colour',
  nodeCreated(node) {
    if (!app.widgets?.COLOR) return
    for (const name of coloursOf(node.constructor?.nodeData)) exchange(node, name)
  },
})
