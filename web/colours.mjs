// The colours of the pack's own sockets and links, on the canvas and in Nodes 2.0; and colours picked with ComfyUI's own picker where the
// page has one: in older pages they are typed. The server takes text either way.

import { app } from '../../scripts/app.js'
import { hexOf } from './light.mjs'

/** As a normal map shows what faces the viewer; as core shows models; as lamplight. */
export const COLOURS = { DEPTH_NORMAL_GEOMETRY: '#8080ff', DEPTH_NORMAL_MODEL: '#b39ddb', DEPTH_NORMAL_LIGHTS: '#ffd98a' }

/** A colour palette sets every type that it does not name to nothing: then ours stands. */
function colour(table, type, ours) {
  let chosen = table[type]
  Object.defineProperty(table, type, { get: () => chosen || ours, set: value => { chosen = value }, enumerable: true, configurable: true })
}

app.registerExtension({
  name: 'DepthNormal.Colours',
  setup() {
    const sheet = document.createElement('style')
    sheet.textContent = `:root { ${Object.entries(COLOURS).map(([type, ours]) => `--color-datatype-${type}: ${ours};`).join(' ')} }`
    document.head.append(sheet)
    for (const table of [app.canvas.default_connection_color_byType, app.canvas.constructor.link_type_colors]) {
      if (table) for (const [type, ours] of Object.entries(COLOURS)) colour(table, type, ours)
    }
  },
})

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
