// What a page of its own shows of one result: its maps side by side, two of them with a slider between, and the surface in 3D.

import { gpu } from './gl.mjs'
import { describe } from './maps.mjs'
import { OrbitControl, OrbitScene } from './orbit_scene.mjs'
import { bestColumns, cornerOf, markTiles, onTile } from './geometry_view.mjs'
import { translated } from './words.mjs'

/**
 * A map as it is drawn.
 * @typedef {object} Layer
 * @property {string} name In the page's language.
 * @property {HTMLCanvasElement} canvas
 */

/** All maps, each with the same point marked. */
export class TilesMode {
  static get label() {
    return translated('Side by side')
  }

  /** @param {import('./image_view.mjs').ImageView} view @param {import('./maps.mjs').Maps} maps @param {Layer[]} layers */
  constructor(view, maps, layers) {
    this.view = view
    this.maps = maps
    this.layers = layers
    this.controls = []
  }

  get hint() {
    return translated('point at the maps to read their values')
  }

  draw() {
    const { maps, layers, view } = this, { width, height } = maps
    this.columns = bestColumns(layers.length, maps, view.area)
    view.resize(width * this.columns, height * Math.ceil(layers.length / this.columns))
    const context = view.canvas.getContext('2d')
    context.clearRect(0, 0, view.width, view.height)
    layers.forEach(({ name, canvas }, place) => {
      const { left, top } = cornerOf(place, this.columns, maps)
      context.drawImage(canvas, left, top)
      labelled(context, name, left, top, view.pixelsPerScreen)
    })
    view.marks()
  }

  hover(point) {
    const { maps, layers, view } = this, context = view.marks(), on = point && onTile(point, layers.length, this.columns)
    view.say(on ? describe(maps, on.x, on.y) : this.hint)
    if (on) markTiles(context, on, layers.length, this.columns, maps, 3 * Math.max(1, view.pixelsPerScreen))
  }

  close() {}
}

/** Two maps on the same place, and a line between them that can be moved. */
export class SliderMode {
  static get label() {
    return translated('Slider')
  }

  /** @param {import('./image_view.mjs').ImageView} view @param {import('./maps.mjs').Maps} maps @param {Layer[]} layers At least two. */
  constructor(view, maps, layers) {
    this.view = view
    this.maps = maps
    this.layers = layers
    this.share = 0.5
    this.sides = [translated('left of the line'), translated('right of the line')].map((title, i) => choice(layers, i, title, () => this.draw()))
    this.controls = this.sides
  }

  get hint() {
    return translated('drag the line')
  }

  draw() {
    const { maps: { width, height }, view } = this, [left, right] = this.sides.map(side => this.layers[side.value]), at = this.share * width
    view.resize(width, height)
    const context = view.canvas.getContext('2d'), unit = view.pixelsPerScreen
    context.drawImage(left.canvas, 0, 0)
    context.save()
    context.beginPath()
    context.rect(at, 0, width, height)
    context.clip()
    context.drawImage(right.canvas, 0, 0)
    context.restore()
    labelled(context, left.name, 0, 0, unit)
    labelled(context, right.name, width, 0, unit, true)
    const marks = view.marks()
    for (const [colour, thick] of Object.entries({ '#000': 4, '#fff': 2 })) {
      marks.fillStyle = colour
      marks.fillRect(at - thick * unit / 2, 0, thick * unit, height)
    }
    marks.beginPath()
    marks.arc(at, height / 2, 9 * unit, 0, 2 * Math.PI)
    marks.fill()
  }

  grab(point) {
    this.drag(point)
    return true
  }

  drag({ x }) {
    this.share = Math.min(1, Math.max(0, x))
    this.draw()
  }

  hover(point) {
    this.view.say(point ? describe(this.maps, point.x, point.y) : this.hint)
  }

  arrow(dx) {
    this.drag({ x: this.share + dx / 50 })
  }

  close() {}
}

/** The surface that the camera saw, which can be turned. */
export class SolidMode extends OrbitControl {
  static get label() {
    return translated('3D')
  }

  /** @param {import('./image_view.mjs').ImageView} view @param {import('./maps.mjs').Maps} maps With depth. @param {Layer[]} layers */
  constructor(view, maps, layers) {
    super(view)
    this.maps = maps
    this.layers = layers
    this.surface = choice(layers, 0, translated('shown on the surface'), () => this.paint())
    this.back = () => this.reset()
    this.controls = [this.surface]
  }

  get hint() {
    return translated('drag: turn, Shift: move, wheel: zoom, double click: reset')
  }

  draw() {
    const shared = gpu(), { area } = this.view, scale = Math.min(2, window.devicePixelRatio || 1)
    if (!shared) return this.view.say(translated('This browser has no WebGL 2, so there is no 3D view.'))
    if (!this.scene) {
      this.scene = new OrbitScene(shared, this.maps, this.layers[this.surface.value].canvas, () => this.schedule())
      this.view.stage.addEventListener('dblclick', this.back)
    }
    this.view.resize(Math.max(1, Math.round(area.width * scale)), Math.max(1, Math.round(area.height * scale)))
    this.view.marks()
    this.scene.draw(this.view.canvas)
  }

  paint() {
    const { yaw, pitch, distance, shift } = this.scene ?? {}
    this.close()
    this.draw()
    if (yaw != null) Object.assign(this.scene, { yaw, pitch, distance, shift })
    this.schedule()
  }

  hover() {}

  close() {
    this.view.stage.removeEventListener('dblclick', this.back)
    super.close()
  }
}

/**
 * A list of the maps.
 * @param {Layer[]} layers
 * @param {number} chosen
 * @param {string} title
 * @param {() => void} changed
 * @returns {HTMLSelectElement}
 */
function choice(layers, chosen, title, changed) {
  const element = document.createElement('select')
  element.append(...layers.map(({ name }, i) => new Option(name, String(i), false, i === chosen)))
  element.title = title
  element.setAttribute('aria-label', title)
  element.addEventListener('change', changed)
  return element
}

/** Writes a map's name into a corner, as large on the screen whatever the size of the image is. */
function labelled(context, text, x, y, unit, isRight = false) {
  context.font = `${12 * unit}px sans-serif`
  const width = context.measureText(text).width + 12 * unit, left = isRight ? x - width : x
  context.fillStyle = '#000a'
  context.fillRect(left, y, width, 20 * unit)
  context.fillStyle = '#fff'
  context.textBaseline = 'middle'
  context.fillText(text, left + 6 * unit, y + 10.5 * unit)
}
