// Relight in the page: the image under the light of the node's widgets, and a handle that moves it.

import { gpu } from './gl.mjs'
import { anglesAt, depthBy, handleOf, lampOf, looksOf, otherLamps, radii } from './light.mjs'
import { describe } from './maps.mjs'
import { RelightScene } from './relight_scene.mjs'
import { translated } from './words.mjs'

// An image that takes longer (in milliseconds) is drawn coarsely while the light moves, and finely after this time.
const SLOW = 25
const REST = 150

/** The view on the node *Relight*. */
export class LightView {
  /** Widgets that are set by the hand. */
  static sets = ['azimuth', 'elevation', 'light_x', 'light_y', 'light_depth']

  static get empty() {
    return translated('Run once, then drag the light here.')
  }

  /** @param {import('./image_view.mjs').ImageView} view @param {import('./node_widgets.mjs').NodeWidgets} widgets */
  constructor(view, widgets) {
    this.view = view
    this.widgets = widgets
    this.scene = null
    this.frames = 0
    this.pending = 0
  }

  /** @param {import('./maps.mjs').Maps[]} images Those of a batch; the first is lit. */
  show([maps]) {
    this.dispose()
    const shared = gpu()
    this.maps = maps
    this.view.showPixels(maps.image, maps.width, maps.height)
    if (!shared) return this.view.say(translated('This browser has no WebGL 2, so the light cannot be shown here. Run the graph to see it.'))
    this.scene = new RelightScene(shared, maps, () => this.schedule())
    this.view.say(this.hint)
    this.draw()
    shared.isSlow ??= this.scene.timed(...this.lit(), this.view.canvas) > SLOW
  }

  get kind() {
    return this.widgets.values.light
  }

  get hint() {
    const hints = { directional: translated('drag the light around the image'), point: translated('drag the lamp; Shift or the wheel: its depth') }
    return hints[this.kind] ?? ''
  }

  get names() {
    return this.kind === 'point' ? ['light_x', 'light_y', 'light_depth'] : ['azimuth', 'elevation']
  }

  grab(point, event) {
    if (this.widgets.areGiven(this.names, this.view) || !this.scene) return false
    this.start = { y: event.clientY, depth: this.widgets.values.light_depth }
    if (!event.shiftKey) this.drag(point, event)
    return true
  }

  drag(point, event) {
    if (this.kind !== 'point') this.widgets.set(anglesAt(point, this.aspect))
    else if (event.shiftKey) this.widgets.set({ light_depth: depthBy(this.start.depth, (this.start.y - event.clientY) / 12) })
    else this.widgets.set({ light_x: rounded(point.x), light_y: rounded(point.y) })
    this.schedule()
  }

  hover(point) {
    if (!this.maps || this.view.dragging) return
    this.view.say(point ? describe(this.maps, point.x, point.y) : this.hint)
  }

  wheel(steps) {
    if (!this.scene || this.kind !== 'point' || this.widgets.isLinked('light_depth')) return false
    this.widgets.set({ light_depth: depthBy(this.widgets.values.light_depth, steps) })
    return true
  }

  arrow(dx, dy, event) {
    if (this.widgets.areGiven(this.names.slice(0, 2), this.view)) return // its depth stays
    const { azimuth, elevation, light_x: x, light_y: y } = this.widgets.values, step = event.shiftKey ? 5 : 1
    if (this.kind === 'point') this.widgets.set({ light_x: rounded(x + dx * step / 100), light_y: rounded(y + dy * step / 100) })
    else this.widgets.set({ azimuth: azimuth - dx * step, elevation: elevation - dy * step })
  }

  /** The node's widgets may have changed. */
  update() {
    const state = JSON.stringify(this.widgets.values)
    if (state !== this.drawn) this.schedule()
  }

  schedule() {
    if (!this.pending) this.pending = requestAnimationFrame(() => { this.pending = 0; this.draw(this.scene?.gpu.isSlow) })
  }

  draw(coarse = false) {
    if (!this.scene) return
    clearTimeout(this.resting)
    if (coarse) this.resting = setTimeout(() => this.draw(), REST)
    const { values } = this.widgets
    this.drawn = JSON.stringify(values)
    this.scene.draw(...this.lit(), this.view.canvas, coarse ? 2 : 1)
    this.mark(values)
    this.frames++
  }

  /** The lamps and the shading that the widgets set. @returns {[import('./light.mjs').Lamp[], import('./light.mjs').Looks]} */
  lit() {
    const { values } = this.widgets
    return [[lampOf(values, this.maps), ...otherLamps(this.maps.payload.lamps, values)], looksOf(values)]
  }

  get aspect() {
    return this.maps.width / this.maps.height
  }

  mark(values) {
    const context = this.view.marks(), { width, height } = this.maps, unit = Math.max(1, this.view.pixelsPerScreen)
    const place = values.light === 'point' ? { x: values.light_x, y: values.light_y } : handleOf(values, this.aspect)
    const x = Math.min(1, Math.max(0, place.x)) * width, y = Math.min(1, Math.max(0, place.y)) * height
    if (values.light !== 'point') {
      const [right, up] = radii(this.aspect)
      outlined(context, unit, () => context.ellipse(width / 2, height / 2, right * width, up * height, 0, 0, 2 * Math.PI), 0.35)
    }
    outlined(context, unit, () => context.arc(x, y, 8 * unit, 0, 2 * Math.PI), 1, values.colour)
  }

  dispose() {
    cancelAnimationFrame(this.pending)
    clearTimeout(this.resting)
    this.pending = 0
    this.scene?.dispose()
    this.scene = this.maps = null
  }
}

/**
 * Draws a line that is visible on any image.
 * @param {CanvasRenderingContext2D} context
 * @param {number} unit Pixels of the image in one of the screen.
 * @param {() => void} path Adds to the path.
 * @param {number} opacity
 * @param {string} [fill]
 */
export function outlined(context, unit, path, opacity = 1, fill) {
  context.globalAlpha = opacity
  for (const [colour, width] of Object.entries({ '#000': 3.5, '#fff': 1.5 })) {
    context.beginPath()
    path()
    context.strokeStyle = colour
    context.lineWidth = width * unit
    if (fill && colour === '#000') {
      context.fillStyle = fill
      context.fill()
    }
    context.stroke()
  }
  context.globalAlpha = 1
}

function rounded(value) {
  return Math.round(value * 1000) / 1000
}
