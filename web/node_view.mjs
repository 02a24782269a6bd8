// The pack's view on a node. It outlives the node object: an undo, a redo or a conversion to a subgraph makes a new object of the same
// node, and Nodes 2.0 may keep the old one's element on the page.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { ImageView, LEAST_HEIGHT } from './image_view.mjs'
import { isOfShown, lastShown, whenRun } from './last_runs.mjs'
import { loadMaps } from './maps.mjs'
import { NodeWidgets } from './node_widgets.mjs'
import { after, isInGraph, watch } from './nodes.mjs'
import { translated } from './words.mjs'

const KEY = 'depth_normal'
const WIDGET = '$$depth_normal'
/** How long the view of a removed node waits for its next node object, in milliseconds. */
const WAIT = 1500
/** How long an element that nobody shows is looked for on the page, in milliseconds. */
const FORGET = 10000

/** Views that hold images or may get some: those on nodes, and those that wait. @type {Set<NodeView>} */
const views = new Set()
/** Elements of views that were replaced or disposed of, and where they were. @type {Map<HTMLElement, {home: Home, since: number}>} */
const strays = new Map()

/**
 * Where a node is: it stays the same when the node object is made anew.
 * @typedef {{root: string, graph: string, id: string, type: string}} Home
 */

/** @param {any} node In a graph. @returns {Home} */
function homeOf(node) {
  const { graph, id, type } = node
  return { root: String((graph.rootGraph ?? graph).id), graph: String(graph.id), id: String(id), type }
}

/** @param {Home | null} home @param {Home} other @param {(keyof Home)[]} names What is compared. */
function isSame(home, other, names = ['root', 'graph', 'id', 'type']) {
  return home !== null && names.every(name => home[name] === other[name])
}

/** @param {any} node @returns {Element | null} Its widgets in Nodes 2.0. */
function widgetsOf({ graph, id }) {
  return graph === app.canvas.graph ? document.querySelector(`[data-testid="node-body-${id}"] [data-testid=node-widgets]`) : null
}

/** Keeps a widget on a subgraph: pages up to 1.47 make its widgets of its inputs alone, and Nodes 2.0 shows no others (see `widgetsOf`). */
function keepWidget(node, widget) {
  if (node.widgets.includes(widget)) return
  const { get } = Object.getOwnPropertyDescriptor(node, 'widgets')
  Object.defineProperty(node, 'widgets', { get: () => [...get.call(node), widget], set: () => {}, configurable: true, enumerable: true })
}

/** @param {any} node @returns {string} Where the page keeps the output of a node's last run. */
function placeOf({ graph, id }) {
  return graph && graph !== app.graph && graph.id && !graph.isRootGraph ? `${graph.id}:${id}` : String(id)
}

/** @param {any} payload @param {any} source @returns {boolean} Whether a node of this type made it; the page finds nodes by their numbers alone. */
const isUsable = (payload, source) => Boolean(payload?.image) && payload.type === source.type

/** @returns {object[] | undefined} What the page keeps at a place, where it is of the node there and of the shown graph. */
function keptAt(place, source) {
  const payloads = app.nodeOutputs?.[place]?.[KEY]
  return payloads?.some(payload => isUsable(payload, source) && isOfShown(payload.prompt)) ? payloads : undefined
}

/** An image on a node, with what is drawn on it. */
class NodeView {
  /** @param {any} node @param {any} View @param {any} source The node that runs: the node itself, or one in it where it is a subgraph. */
  constructor(node, View, source = node) {
    this.node = node
    this.source = source
    this.home = null
    this.key = null
    this.stamp = 0
    this.view = new ImageView(View.empty, this.handlers(), passWheel)
    this.widgets = new NodeWidgets(node, () => this.inner.update(), source)
    this.inner = new View(this.view, this.widgets)
    this.View = View
    this.view.root.depthNormal = this.inner
  }

  handlers() {
    const names = ['grab', 'drag', 'giveUp', 'hover', 'wheel', 'arrow', 'escape']
    const drop = () => { this.inner.drop?.(); noteChange() }
    return { ...Object.fromEntries(names.map(name => [name, (...values) => this.inner[name]?.(...values)])), drop }
  }

  /** Shows the result of a run; a later call cancels an earlier one that still loads. */
  async show(payloads) {
    const usable = (payloads ?? []).filter(payload => isUsable(payload, this.source))
    if (!usable.length) return
    this.place = placeOf(this.source)
    const key = JSON.stringify(usable)
    if (key === this.key) return
    const stamp = ++this.stamp
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
    this.node.setDirtyCanvas(true, true)
  }

  fail(words) {
    this.key = null
    this.inner.dispose()
    this.view.showEmpty(words)
  }

  /** The result of an earlier run: of this node, after an undo, a change of tabs or a reload, or of what it is a copy of. @param {boolean} isCopy */
  async restore(isCopy) {
    const output = keptAt(placeOf(this.source), this.source)
    if (output && !isInGraph(this.node)) this.leave() // unless it is put into a graph
    if (output) return this.show(output)
    if (this.key && !keptAt(this.place, this.source)) this.fail(this.View.empty)
    if (this.key || !isInGraph(this.node)) return // an object that was only created would never be told to free its images
    const values = JSON.stringify(this.widgets.values), { stamp } = this
    const original = isCopy && [...views].findLast(view => view !== this && view.key && view.View === this.View && view.values === values)
    const payloads = original ? JSON.parse(original.key) : await lastShown(this.node, this.source)
    if (stamp === this.stamp) this.show(payloads)
  }

  /** Its node is on the page: called several times a second. */
  look() {
    this.home = homeOf(this.node)
    this.values = JSON.stringify(this.widgets.values)
    if (this.view.width) this.inner.update()
    this.settle()
  }

  /** Takes the place of an element of this node that is still on the page. */
  settle() {
    const { root } = this.view
    for (const [stray, { home, since }] of strays) {
      if (stray.isConnected && !root.isConnected && isSame(home, this.home)) stray.replaceWith(root)
      if (!stray.isConnected && performance.now() - since > FORGET) strays.delete(stray)
    }
    if (!root.isConnected && this.source !== this.node && window.LiteGraph?.vueNodesMode) widgetsOf(this.node)?.after(root)
  }

  /** Its node is gone: another node object may take the view over, and otherwise it is disposed of. */
  leave() {
    clearTimeout(this.waiting)
    this.waiting = setTimeout(() => isInGraph(this.node) || this.dispose(), WAIT)
  }

  /** Its node is back. */
  enter() {
    clearTimeout(this.waiting)
    views.add(this)
    strays.delete(this.view.root)
    this.home = homeOf(this.node)
  }

  /** Goes on as the view of another object of its node, whose own view is empty. @param {NodeView} own @param {any} node */
  moveTo(own, node) {
    own.home = homeOf(node)
    own.dispose()
    if (own.view.root.isConnected) own.view.root.replaceWith(this.view.root)
    this.node = this.widgets.node = node
    this.source = this.widgets.source = own.source
    this.enter()
  }

  /** Frees all that it holds: images, maps, what is on the graphics card. */
  dispose() {
    clearTimeout(this.waiting)
    this.stamp++
    this.fail(this.View.empty)
    views.delete(this)
    if (this.home) strays.set(this.view.root, { home: this.home, since: performance.now() })
  }
}

whenRun((ran, output) => {
  for (const view of views) if (ran(view.node, view.source)) view.show(output?.[KEY])
})

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

/** Each drag is one step of undo: the page notes what changed when a mouse button goes up, of which the image's own events tell it nothing. */
function noteChange() {
  app.canvas.emitBeforeChange?.()
  app.canvas.emitAfterChange?.()
}

/** The view that an earlier object of a node has left; a node that moved to or from a subgraph may have another id there. */
function leftBy(own, anyGraph) {
  const home = homeOf(own.node), values = JSON.stringify(own.widgets.values)
  const free = [...views].filter(view => view !== own && view.key && !isInGraph(view.node))
  const moved = view => view.values === values && view.home.graph !== home.graph && isSame(view.home, home, ['root', 'type'])
  return free.find(view => isSame(view.home, home)) ?? (anyGraph && free.find(moved))
}

/**
 * Puts a view on a node.
 * @param {any} node That was just created.
 * @param {any} View Class of what is drawn.
 * @param {any} [source] As `NodeView`.
 */
export function addView(node, View, source) {
  let view = new NodeView(node, View, source)
  const widget = node.addDOMWidget(WIDGET, 'DEPTH_NORMAL_PICTURE', view.view.root, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => LEAST_HEIGHT,
  })
  widget.serialize = false
  keepWidget(node, widget)
  // The page's panel of parameters would set its own width, which the view on the canvas then has, too.
  Object.defineProperty(widget, 'width', { get: () => undefined, set: () => {} })
  // Its own image takes the place of core's, in Nodes 2.0 and on the canvas.
  node.hideOutputImages = true
  node.onDrawBackground = () => {}

  const takeOver = anyGraph => {
    if (view.key || !isInGraph(node)) return
    const earlier = leftBy(view, anyGraph)
    if (!earlier) return
    earlier.moveTo(view, node)
    view = earlier
    widget.element = view.view.root
  }
  // A view that another node object took over is no longer this one's.
  const own = action => (...values) => view.node === node && action(...values)
  watch(node, own(() => view.look()), own(() => view.leave()))
  if (isInGraph(node)) view.enter()
  after(node, 'onAdded', own(() => view.enter()))
  const configured = isCopy => {
    takeOver(false)
    // By then a conversion to a subgraph has removed the old node, and a tab has its outputs back.
    setTimeout(own(() => {
      takeOver(true)
      view.restore(isCopy)
    }))
  }
  after(node, 'onConfigure', () => configured(!app.configuringGraph))
  return configured
}
