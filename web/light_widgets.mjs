// Of a lamp's widgets those are shown that its kind has: angles of one that is as far as the sun, a place of one in the scene.
// Those that are hidden keep their values, are saved, and are sent.

import { app } from '../../scripts/app.js'
import { isLinked } from './node_widgets.mjs'
import { watch } from './nodes.mjs'

const KIND = 'light'
const ONLY = {
  directional: ['azimuth', 'elevation'],
  point: ['light_x', 'light_y', 'light_depth'],
}
const LAMPS = new Set(['DepthNormal_Relight', 'DepthNormal_Light'])

/** @param {any} node */
function arrange(node) {
  const kind = node.widgets?.find(widget => widget.name === KIND)
  if (!kind) return
  const known = kind.value in ONLY && !isLinked(node, KIND)
  const wanted = Object.entries(ONLY).flatMap(([of, names]) => names.map(name => ({
    widget: node.widgets.find(each => each.name === name),
    hidden: known && of !== kind.value && !isLinked(node, name),
  })))
  const changed = wanted.filter(({ widget, hidden }) => widget && Boolean(widget.hidden) !== hidden)
  if (!changed.length) return
  const before = node.computeSize()[1]
  for (const { widget, hidden } of changed) widget.hidden = widget.options.hidden = hidden
  // Nodes 2.0 looks at the options anew when the list of widgets changes.
  node.widgets.push(node.widgets.pop())
  // A node that was as small as it can be stays so.
  const [width, height] = node.size, least = node.computeSize()[1]
  if (height < least || height <= before) node.setSize([width, least])
  node.setDirtyCanvas?.(true, true)
}

app.registerExtension({
  name: 'DepthNormal.LightWidgets',
  nodeCreated(node) {
    if (!LAMPS.has(node.comfyClass ?? node.constructor?.comfyClass)) return
    arrange(node)
    watch(node, () => arrange(node))
  },
})
