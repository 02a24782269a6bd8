// Of a lamp's widgets those are shown that its kind has: angles of one that is as far as the sun, a place of one in the scene.
// Those that are hidden keep their values, are saved, and are sent.

import { app } from '../../scripts/app.js'

const KIND = 'light'
const ONLY = {
  directional: ['azimuth', 'elevation'],
  point: ['light_x', 'light_y', 'light_depth'],
}
const LAMPS = new Set(['DepthNormal_Relight', 'DepthNormal_Light'])

const isLinked = (node, name) => (node.inputs ?? []).some(input => input.widget?.name === name && input.link != null)

/** @param {any} node */
function arrange(node) {
  const kind = node.widgets?.find(widget => widget.name === KIND)
  if (!kind) return
  const known = kind.value in ONLY && !isLinked(node, KIND)
  const before = node.computeSize()[1]
  let changed = false
  for (const [of, names] of Object.entries(ONLY)) {
    for (const name of names) {
      const widget = node.widgets.find(each => each.name === name)
      const hidden = known && of !== kind.value && !isLinked(node, name)
      if (!widget || Boolean(widget.hidden) === hidden) continue
      widget.hidden = hidden
      widget.options.hidden = hidden
      changed = true
    }
  }
  if (!changed) return
  // A node that was as small as it can be stays so.
  const [width, height] = node.size, least = node.computeSize()[1]
  if (height < least || height <= before) node.setSize([width, least])
  node.setDirtyCanvas?.(true, true)
}

function chained(object, name, after) {
  const before = object[name]
  object[name] = function (...values) {
    const result = before?.apply(this, values)
    after()
    return result
  }
}

app.registerExtension({
  name: 'DepthNormal.LightWidgets',
  nodeCreated(node) {
    if (!LAMPS.has(node.comfyClass ?? node.constructor?.comfyClass)) return
    const kind = node.widgets?.find(widget => widget.name === KIND)
    if (kind) chained(kind, 'callback', () => arrange(node))
    chained(node, 'onConfigure', () => setTimeout(() => arrange(node)))
    chained(node, 'onConnectionsChange', () => setTimeout(() => arrange(node)))
    arrange(node)
  },
})
