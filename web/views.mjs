// Which nodes have interactive images in ComfyUI's page. The nodes also work without them.

import { app } from '../../scripts/app.js'
import { BoxView } from './box_view.mjs'
import { GeometryView } from './geometry_view.mjs'
import { LightView } from './light_view.mjs'
import { addView } from './node_view.mjs'
import { PlainView, PointView } from './point_view.mjs'

const VIEWS = {
  DepthNormal_Relight: LightView,
  DepthNormal_PreviewGeometry: GeometryView,
  DepthNormal_SaveGeometry: PlainView,
  DepthNormal_Fog: PlainView,
  DepthNormal_SkyMask: PlainView,
}

function viewOf(node) {
  const type = node.comfyClass ?? node.constructor?.comfyClass ?? ''
  if (VIEWS[type]) return VIEWS[type]
  const names = new Set((node.widgets ?? []).map(widget => widget.name))
  if (!type.startsWith('DepthNormal_') || !names.has('point_x') || !names.has('point_y')) return null
  return names.has('box_left') ? BoxView : PointView
}

function addTo(node, View, source) {
  const configured = addView(node, View, source)
  if (View.width > node.size[0]) node.setSize([View.width, node.size[1]])
  return configured
}

/** A subgraph that shows widgets which a node in it sets by the hand, such as the angles of a light, has that node's view. */
function addToSubgraph(host, isCopy) {
  const shown = new Set((host.widgets ?? []).map(widget => widget.name))
  const source = host.subgraph.nodes.find(node => viewOf(node)?.sets?.some(name => shown.has(name)))
  if (source) addTo(host, viewOf(source), source)(isCopy)
}

app.registerExtension({
  name: 'DepthNormal.Images',
  nodeCreated(node) {
    const View = viewOf(node)
    if (View) addTo(node, View)
    // Its widgets come with its values.
    else if (node.isSubgraphNode?.()) setTimeout(() => addToSubgraph(node, !app.configuringGraph))
  },
})
