// Preview Geometry in the page: depth, normals and mask side by side, values under the pointer, and the surface in 3D.

import { gpu } from './gl.mjs'
import { button } from './image_view.mjs'
import { translatedLine } from './language.mjs'
import { describe, VALID } from './maps.mjs'
import { depthToCamera, OrbitControl, OrbitScene, percentiles } from './orbit_scene.mjs'
import { translated } from './words.mjs'

/**
 * The number of columns that shows tiles largest.
 * @param {number} count Of tiles.
 * @param {{width: number, height: number}} tile
 * @param {{width: number, height: number}} area That they are fitted into.
 * @returns {number} 1 to count; count where the area is empty.
 */
export function bestColumns(count, tile, { width, height }) {
  const scale = columns => Math.min(width / columns / tile.width, height / Math.ceil(count / columns) / tile.height)
  if (!width || !height) return count
  return Array.from({ length: count }, (_, i) => count - i).reduce((best, columns) => scale(columns) > scale(best) ? columns : best)
}

/** First column and row of a tile in pixels. @param {number} place @param {number} columns @param {{width: number, height: number}} tile */
export function cornerOf(place, columns, tile) {
  return { left: place % columns * tile.width, top: Math.floor(place / columns) * tile.height }
}

/**
 * Converts a point on the tiles to one of the image.
 * @param {{x: number, y: number}} point Fractions of all tiles.
 * @param {number} count
 * @param {number} columns
 * @returns {{x: number, y: number} | null} Fractions of the image; null where no tile is.
 */
export function onTile({ x, y }, count, columns) {
  const across = x * columns, down = y * Math.ceil(count / columns)
  return Math.floor(down) * columns + Math.floor(across) < count ? { x: across % 1, y: down % 1 } : null
}

/**
 * Frames the same point on each tile.
 * @param {CanvasRenderingContext2D} context
 * @param {{x: number, y: number}} point Fractions of the image.
 * @param {number} count
 * @param {number} columns
 * @param {{width: number, height: number}} tile
 * @param {number} size Half a frame's side in pixels.
 */
export function markTiles(context, point, count, columns, tile, size) {
  context.strokeStyle = '#f40'
  context.lineWidth = size / 2
  for (let place = 0; place < count; place++) {
    const { left, top } = cornerOf(place, columns, tile)
    context.strokeRect(left + point.x * tile.width - size, top + point.y * tile.height - size, 2 * size, 2 * size)
  }
}

const SOLID_SIZE = { width: 800, height: 600 }

/** The view on the node *Preview Geometry*. */
export class GeometryView extends OrbitControl {
  static width = 340

  static get empty() {
    return translated('Run to see depth, normals and mask here.')
  }

  /** @param {import('./image_view.mjs').ImageView} view */
  constructor(view) {
    super(view)
    this.index = 0
    this.solid = button('3D', translated('Depth as a surface that can be turned'), () => this.toggle())
    this.back = button('‹', translated('Previous image'), () => this.choose(this.index - 1))
    this.number = document.createElement('span')
    this.next = button('›', translated('Next image'), () => this.choose(this.index + 1))
    view.bar.append(this.back, this.number, this.next, this.solid)
    view.stage.addEventListener('dblclick', () => this.reset())
    this.refresh()
  }

  /** @param {import('./maps.mjs').Maps[]} images Those of a batch. */
  show(images) {
    this.images = images
    this.choose(Math.min(this.index, images.length - 1))
  }

  /** @param {number} index Of the image; those before the first and after the last are the last and the first. */
  choose(index) {
    this.index = (index + this.images.length) % this.images.length
    const wasSolid = Boolean(this.scene)
    this.close()
    if (wasSolid && this.maps.depth) this.open()
    else this.drawTiles()
  }

  get maps() {
    return this.images?.[this.index]
  }

  toggle() {
    if (this.scene) {
      this.close()
      this.drawTiles()
    } else {
      this.open()
    }
  }

  open() {
    const shared = gpu()
    if (!shared) return this.view.say(translated('This browser has no WebGL 2, so there is no 3D view.'))
    this.scene = new OrbitScene(shared, this.maps, this.maps.image, () => this.schedule())
    this.view.resize(SOLID_SIZE.width, SOLID_SIZE.height)
    this.view.marks()
    this.view.say(translated('drag: turn, Shift: move, wheel: zoom, double click: reset'))
    this.schedule()
    this.refresh()
  }

  drawTiles() {
    const { maps } = this, { width, height } = maps
    this.tiles = tilesOf(maps)
    this.columns = this.bestColumns()
    this.view.resize(width * this.columns, height * Math.ceil(this.tiles.length / this.columns))
    const context = this.view.canvas.getContext('2d')
    context.clearRect(0, 0, this.view.width, this.view.height)
    this.tiles.forEach((rgba, place) => {
      const { left, top } = this.corner(place)
      context.putImageData(new ImageData(rgba, width, height), left, top)
    })
    this.view.say(translatedLine(maps.payload.text))
    this.refresh()
  }

  bestColumns() {
    return bestColumns(this.tiles.length, this.maps, this.view.area)
  }

  corner(place) {
    return cornerOf(place, this.columns, this.maps)
  }

  refresh() {
    const several = this.images?.length > 1
    for (const element of [this.back, this.number, this.next]) element.style.display = several ? '' : 'none'
    this.number.textContent = several ? `${this.index + 1} / ${this.images.length}` : ''
    this.solid.style.display = this.maps?.depth ? '' : 'none'
    this.solid.textContent = this.scene ? translated('maps') : '3D'
  }

  hover(point) {
    if (!this.maps || this.scene) return
    const { maps } = this, context = this.view.marks(), on = point && this.onTile(point)
    this.view.say(on ? describe(maps, on.x, on.y) : translatedLine(maps.payload.text))
    if (!on) return
    const size = Math.max(3, 3 * this.view.pixelsPerScreen)
    markTiles(context, on, this.tiles.length, this.columns, maps, size)
  }

  onTile(point) {
    return onTile(point, this.tiles.length, this.columns)
  }

  /** The node may have another shape now. */
  update() {
    if (this.tiles && !this.scene && this.bestColumns() !== this.columns) this.drawTiles()
  }

  dispose() {
    this.close()
    this.images = this.tiles = null
  }
}

/**
 * Depth (near = white), normals and mask as images, those that there are. A mask that is valid everywhere is left out, unless it is alone.
 * @param {import('./maps.mjs').Maps} maps
 * @returns {Uint8ClampedArray<ArrayBuffer>[]} RGBA.
 */
export function tilesOf(maps) {
  return Object.values(namedTiles(maps))
}

/**
 * The same by their names: Depth, Normals, Mask.
 * @param {import('./maps.mjs').Maps} maps
 * @returns {Record<string, Uint8ClampedArray<ArrayBuffer>>}
 */
export function namedTiles(maps) {
  /** @type {Record<string, Uint8ClampedArray<ArrayBuffer>>} */
  const tiles = {}
  if (maps.depth) tiles.Depth = nearness(maps)
  if (maps.normals) tiles.Normals = new Uint8ClampedArray(maps.normals).map((value, i) => i % 4 === 3 ? 255 : value)
  const isHoled = maps.bits.some(bits => !(bits & VALID))
  if (isHoled || !Object.keys(tiles).length) tiles.Mask = painted(maps.bits.length, i => (maps.bits[i] & VALID) * 255)
  return tiles
}

function nearness(maps) {
  const near = depthToCamera(maps).map(depth => 1 / depth), [low, high] = percentiles(near, [0.001, 0.999]), span = high - low || 1
  return painted(near.length, i => Number.isNaN(near[i]) ? 0 : 255 * (near[i] - low) / span)
}

function painted(count, grey) {
  const rgba = new Uint8ClampedArray(4 * count)
  for (let i = 0; i < count; i++) {
    const level = grey(i)
    rgba.set([level, level, level, 255], 4 * i)
  }
  return rgba
}
