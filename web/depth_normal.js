// Depth & Normals in ComfyUI's page: interactive images on nodes. The nodes also work without it.

import { app } from '../../scripts/app.js'
import { BoxView } from './box_view.js'
import { GeometryView } from './geometry_view.js'
import { LightView } from './light_view.js'
import { addView } from './node_view.js'
import { PlainView } from './plain_view.js'
import { PointView } from './point_view.js'

const VIEWS = { DepthNormal_Relight: LightView, DepthNormal_PreviewGeometry: GeometryView, DepthNormal_Fog: PlainView, DepthNormal_SaveGeometry: PlainView }

function viewOf(node) {
  const type = node.comfyClass ?? node.constructor?.comfyClass ?? ''
  if (VIEWS[type]) return VIEWS[type]
  const names = new Set((node.widgets ?? []).map(widget => widget.name))
  if (!type.startsWith('DepthNormal_') || !names.has('point_x') || !names.has('point_y')) return null
  return names.has('box_left') ? BoxView : PointView
}

app.registerExtension({
  name: 'DepthNormal.Images',
  nodeCreated(node) {
    const View = viewOf(node)
    if (!View) return
    addView(node, View)
    if (View.width > node.size[0]) node.setSize([View.width, node.size[1]])
  },
})
