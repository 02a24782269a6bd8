// Depth & Normals in ComfyUI's page: interactive images on nodes. The nodes also work without it.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { GeometryView } from './geometry_view.js'
import { LightView } from './light_view.js'
import { loadMaps } from './maps.js'
import { NodeWidgets } from './node_widgets.js'
import { EMPTY_HEIGHT, ImageView, SHOWN_HEIGHT } from './image_view.js'
import { PlainView } from './plain_view.js'
import { PointView } from './point_view.js'
import { translated } from './words.js'

const KEY = 'depth_normal'
const WIDGET = '$$depth_normal'
const VIEWS = { DepthNormal_Relight: LightView, DepthNormal_PreviewGeometry: GeometryView, DepthNormal_Fog: PlainView, DepthNormal_SaveGeometry: PlainView }
const LOOKS_A_SECOND = 8

const shown = new Set()

/** The pack's view on one node. */
class NodeView {
  constructor(node, View) {
    this.node = node
    this.stamp = 0
    this.view = new ImageView(View.empty, this.handlers(), passWheel)
    this.widgets = new NodeWidgets(node, () => this.inner.update())
    this.inner = new View(this.view, this.widgets)
    this.widget = node.addDOMWidget(WIDGET, 'DEPTH_NORMAL_PICTURE', this.view.root, {
      serialize: false,
      hideOnZoom: false,
      getMinHeight: () => this.view.width ? SHOWN_HEIGHT : EMPTY_HEIGHT,
    })
    this.widget.serialize = false
    this.view.root.depthNormal = this.inner
    // Its own image takes the place of core's, in Nodes 2.0 and on the canvas.
    node.hideOutputImages = true
    node.onDrawBackground = () => {}
    shown.add(this)
  }

  handlers() {
    const names = ['grab', 'drag', 'drop', 'hover', 'wheel', 'arrow']
    return Object.fromEntries(names.map(name => [name, (...values) => this.inner[name]?.(...values)]))
  }

  /** Shows the result of a run; a later call cancels an earlier one that still loads. */
  async show(payloads) {
    const usable = (payloads ?? []).filter(payload => payload?.image)
    if (!usable.length || usable === this.payloads) return
    const stamp = ++this.stamp, key = JSON.stringify(usable)
    if (key === this.key) return
    let images
    try {
      images = await Promise.all(usable.map(payload => loadMaps(payload, read)))
    } catch (error) {
      if (stamp === this.stamp) this.fail(translated('The image cannot be loaded: {0}. Run again.', error.message))
      return
    }
    if (stamp !== this.stamp) return
    this.key = key
    try {
      this.inner.show(images)
    } catch (error) {
      this.fail(translated('The image cannot be shown here: {0}', error.message))
    }
    this.grow()
  }

  fail(words) {
    this.key = null
    this.inner.dispose()
    this.view.showEmpty(words)
  }

  grow() {
    const [width, height] = this.node.size, [leastWidth, leastHeight] = this.node.computeSize()
    if (width < leastWidth || height < leastHeight) this.node.setSize([Math.max(width, leastWidth), Math.max(height, leastHeight)])
    this.node.setDirtyCanvas(true, true)
  }

  /** The result of an earlier run of this node, after an undo or a change of tabs. */
  restore() {
    const { graph, id } = this.node
    const place = graph && graph !== app.graph && graph.id && !graph.isRootGraph ? `${graph.id}:${id}` : String(id)
    const output = app.nodeOutputs?.[place]
    if (output?.[KEY]) this.show(output[KEY])
  }

  dispose() {
    this.stamp++
    this.inner.dispose()
    shown.delete(this)
  }
}

async function read(path) {
  const answer = await api.fetchApi(path)
  if (!answer.ok) throw new Error(`${answer.status}`)
  return answer.arrayBuffer()
}

function passWheel(event) {
  if (window.LiteGraph?.vueNodesMode) return
  event.preventDefault()
  app.canvas.processMouseWheel(event)
}

function viewOf(node) {
  const type = node.comfyClass ?? node.constructor?.comfyClass ?? ''
  if (VIEWS[type]) return VIEWS[type]
  const names = new Set((node.widgets ?? []).map(widget => widget.name))
  return type.startsWith('DepthNormal_') && names.has('point_x') && names.has('point_y') ? PointView : null
}

function chained(node, name, after) {
  const before = node[name]
  node[name] = function (...values) {
    const result = before?.apply(this, values)
    after(...values)
    return result
  }
}

// Values change by typing, undo, other packs and links: polling them misses none of these.
setInterval(() => {
  for (const view of shown) if (view.view.width) view.inner.update()
}, 1000 / LOOKS_A_SECOND)

app.registerExtension({
  name: 'DepthNormal.Images',
  nodeCreated(node) {
    const View = viewOf(node)
    if (!View) return
    const view = new NodeView(node, View)
    if (View.width > node.size[0]) node.setSize([View.width, node.size[1]])
    chained(node, 'onExecuted', output => view.show(output?.[KEY]))
    chained(node, 'onRemoved', () => view.dispose())
    chained(node, 'onConfigure', () => setTimeout(() => view.restore()))
  },
})
