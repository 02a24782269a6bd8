// Relight in a page of its own: the pointer is a lamp in front of what it points at.

import { gpu } from './gl.mjs'
import { colourOf, position } from './light.mjs'
import { describe, VALID } from './maps.mjs'
import { RelightScene } from './relight_scene.mjs'
import { depthToCamera, percentiles } from './orbit_scene.mjs'
import { translated } from './words.mjs'

// As LightView: what takes longer (in milliseconds) is drawn coarsely while the lamp moves, and finely after this time.
const SLOW = 25
const REST = 150
const SKY = 2
const NEAR_END = 0.02
// As geometry/assumptions.py limits depth whose near end is 1.
const LIMITS = [0.5, 1e6]
// The lamp's depth follows that of the scene on a grid of so many cells along the longer side: it glides over edges.
const CELLS = 16

/** The image under a lamp, which follows the pointer until a click leaves it where it is. */
export class LampMode {
  static get label() {
    return translated('Light')
  }

  /** @param {import('./image_view.mjs').ImageView} view @param {import('./maps.mjs').Maps} maps With depth and normals. @param {{canvas: HTMLCanvasElement}[]} layers */
  constructor(view, maps, layers) {
    this.view = view
    this.maps = maps
    this.pending = 0
    this.point = { x: 0.35, y: 0.3 }
    this.isLeft = false
    this.lit = litMaps(maps, layers[0].canvas)
    this.depthAt = coarseDepth(this.lit)
    this.distance = range(translated('distance'), 0.05, 0.9, 0.4, () => this.schedule())
    this.brightness = range(translated('brightness'), 0, 4, 1.5, () => this.schedule())
    this.ambient = range(translated('rest of the light'), 0, 1, 0.25, () => this.schedule())
    this.shadows = range(translated('shadows'), 0, 1, 0.6, () => this.schedule())
    this.colour = field(translated('colour'), 'color', { value: '#ffd9a0' }, () => this.schedule())
    this.controls = [this.distance, this.brightness, this.ambient, this.shadows, this.colour]
  }

  get hint() {
    return translated('the pointer is the lamp, and a click leaves it there; wheel: its distance')
  }

  draw() {
    const shared = gpu()
    if (!shared) return this.view.say(translated('This browser has no WebGL 2, so the light cannot be shown here.'))
    this.view.resize(this.maps.width, this.maps.height)
    if (!this.scene) {
      this.scene = new RelightScene(shared, this.lit, () => this.schedule())
      shared.isSlow ??= this.scene.timed(...this.light(), this.view.canvas) > SLOW
    }
    this.shine(shared.isSlow)
  }

  shine(coarse) {
    clearTimeout(this.resting)
    if (coarse) this.resting = setTimeout(() => this.shine(false), REST)
    this.scene?.draw(...this.light(), this.view.canvas, coarse ? 2 : 1)
    this.mark()
  }

  /** What is set, in words of `depth-normal relight`: as bright on what the lamp points at whatever its distance is. */
  get settings() {
    const { x, y } = this.point, surface = this.depthAt(x, y), away = number(this.distance)
    return {
      x, y, depth: surface * (1 - away), colour: this.colour.querySelector('input').value, intensity: number(this.brightness) * (surface * away) ** 2,
      size: 0.05 * surface, shadows: number(this.shadows), ambient: number(this.ambient),
    }
  }

  /** The lamp and the shading. @returns {[import('./light.mjs').Lamp[], import('./light.mjs').Looks]} */
  light() {
    const { x, y, depth, colour, shadows, ambient, ...rest } = this.settings
    const lamp = { ...rest, isPoint: true, position: position(x, y, depth, this.lit), colour: colourOf(colour) ?? [1, 1, 1], shadow: shadows }
    return [[lamp], { ambient, above: [1, 1, 1], below: [1, 1, 1], specular: 0, shininess: 32, exposure: 0, rolled: true }]
  }

  grab(point) {
    this.isLeft = !this.isLeft
    this.aim(point)
    return true
  }

  drag(point) {
    if (this.isLeft) this.aim(point)
  }

  hover(point) {
    this.view.say(point ? describe(this.maps, point.x, point.y) : this.hint)
    if (point && !this.isLeft) this.aim(point)
  }

  aim(point) {
    const within = share => Math.min(1, Math.max(0, share))
    this.point = { x: within(point.x), y: within(point.y) }
    this.schedule()
  }

  /** Marks where the lamp was left. */
  mark() {
    const context = this.view.marks(), unit = this.view.pixelsPerScreen
    if (!this.isLeft) return
    for (const [colour, thick] of Object.entries({ '#000': 4, '#fff': 2 })) {
      Object.assign(context, { strokeStyle: colour, lineWidth: thick * unit })
      context.beginPath()
      context.arc(this.point.x * this.view.width, this.point.y * this.view.height, 8 * unit, 0, 2 * Math.PI)
      context.stroke()
    }
  }

  wheel(steps) {
    this.distance.querySelector('input').value = String(number(this.distance) - 0.04 * steps)
    this.schedule()
    return true
  }

  arrow(dx, dy) {
    this.aim({ x: this.point.x + dx / 50, y: this.point.y + dy / 50 })
    this.view.say(describe(this.maps, this.point.x, this.point.y))
  }

  schedule() {
    if (this.scene && !this.pending) this.pending = requestAnimationFrame(() => { this.pending = 0; this.shine(this.scene?.gpu.isSlow) })
  }

  close() {
    cancelAnimationFrame(this.pending)
    clearTimeout(this.resting)
    this.pending = 0
    this.scene?.dispose()
    this.scene = null
  }
}

/**
 * Maps as the light needs them: depth without holes whose near end is 1, and a sky that faces the viewer.
 * @param {import('./maps.mjs').Maps} maps With depth and normals.
 * @param {HTMLCanvasElement} image
 * @returns {import('./maps.mjs').Maps}
 */
export function litMaps(maps, image) {
  const depth = depthToCamera(maps), [near, far] = percentiles(depth, [NEAR_END, 1]), scale = near || 1
  const filled = depth.map(z => Math.min(LIMITS[1], Math.max(LIMITS[0], (Number.isNaN(z) ? far : z) / scale)))
  const normals = maps.normals.slice()
  maps.bits.forEach((bits, i) => { if (bits & SKY) normals.set([128, 128, 255, 255], 4 * i) })
  const bits = maps.bits.map(each => each & SKY ? each | VALID : each)
  return { ...maps, image: maps.image ?? image, depth: filled, normals, bits }
}

/**
 * Depth by and large, without the edges of things. No cell is empty, even of an image of one pixel.
 * @param {import('./maps.mjs').Maps} maps
 * @returns {(x: number, y: number) => number} At fractions of the image.
 */
export function coarseDepth({ width, height, depth }) {
  const cell = Math.max(1, Math.max(width, height) / CELLS), columns = Math.ceil(width / cell), rows = Math.ceil(height / cell)
  const sums = new Float64Array(columns * rows), counts = new Float64Array(columns * rows)
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const at = Math.floor(y / cell) * columns + Math.floor(x / cell)
    sums[at] += 1 / depth[y * width + x]
    counts[at]++
  }
  const inverse = (column, row) => {
    const at = Math.min(rows - 1, Math.max(0, row)) * columns + Math.min(columns - 1, Math.max(0, column))
    return sums[at] / counts[at]
  }
  return (x, y) => {
    const across = x * width / cell - 0.5, down = y * height / cell - 0.5, column = Math.floor(across), row = Math.floor(down)
    const [u, v] = [across - column, down - row], mix = (a, b, share) => a + (b - a) * share
    return 1 / mix(mix(inverse(column, row), inverse(column + 1, row), u), mix(inverse(column, row + 1), inverse(column + 1, row + 1), u), v)
  }
}

function range(label, min, max, value, changed) {
  return field(label, 'range', { min, max, step: 0.01, value }, changed)
}

function field(text, type, values, changed) {
  const label = document.createElement('label'), input = document.createElement('input')
  input.type = type
  Object.assign(input, values)
  input.addEventListener('input', changed)
  label.append(text, input)
  return label
}

function number(label) {
  return Number(label.querySelector('input').value)
}
