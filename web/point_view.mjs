// An image on a node with its values under the pointer; and one on which a point can be set: for nodes with the widgets
// point_x and point_y, fractions of the image, below 0 for none.

import { button } from './image_view.mjs'
import { outlined } from './light_view.mjs'
import { translatedLine } from './language.mjs'
import { describe } from './maps.mjs'
import { translated } from './words.mjs'

/** The view on a node with an image and nothing to set in it. */
export class PlainView {
  static get empty() {
    return translated('Run to see the image here.')
  }

  static get hint() {
    return ''
  }

  /** @param {import('./image_view.mjs').ImageView} view */
  constructor(view) {
    this.view = view
  }

  /** @param {import('./maps.mjs').Maps[]} images Those of a batch; the first is shown. */
  show([maps]) {
    this.maps = maps
    this.view.showPixels(maps.image, maps.width, maps.height)
    this.say(null)
  }

  hover(point) {
    if (this.maps) this.say(point)
  }

  /** @param {{x: number, y: number} | null} point Point whose values are shown; null: the run's own line. */
  say(point) {
    const there = point && describe(this.maps, point.x, point.y)
    this.view.say(there || translatedLine(this.maps.payload.text) || /** @type {any} */ (this.constructor).hint)
  }

  update() {}

  dispose() {
    this.maps = null
  }
}

/** The value of a widget without a point. */
export const NONE = -1
/** Directions of the lines that mark a point. */
export const BAR = [[1, 0], [-1, 0]]
export const CROSS = [...BAR, [0, 1], [0, -1]]

/** The view on a node that starts from a point of its image. */
export class PointView extends PlainView {
  /** Widgets that are set by the hand. */
  static sets = ['point_x', 'point_y']

  static get empty() {
    return translated('Run once, then click a point here.')
  }

  static get hint() {
    return translated('click sets the point')
  }

  /** @param {import('./image_view.mjs').ImageView} view @param {import('./node_widgets.mjs').NodeWidgets} widgets */
  constructor(view, widgets) {
    super(view)
    this.widgets = widgets
    this.button = button('×', this.clearing, () => this.clear())
    this.button.style.display = 'none'
    view.bar.append(this.button)
  }

  /** What the button says. */
  get clearing() {
    return translated('Clear the point')
  }

  /** The widgets' values where nothing is set. */
  get none() {
    return { point_x: NONE, point_y: NONE }
  }

  /** @param {import('./maps.mjs').Maps[]} images Those of a batch; the first is shown. */
  show([maps]) {
    this.ran = JSON.stringify(this.selected)
    super.show([maps])
    this.draw()
  }

  get point() {
    const { point_x: x, point_y: y } = this.widgets.values
    return x >= 0 && y >= 0 ? { x, y } : null
  }

  /** What the widgets hold, as it is compared; null: nothing. @returns {any} */
  get selected() {
    return this.point
  }

  /** Whether that is another than in the run whose text is shown. */
  get isChanged() {
    return JSON.stringify(this.selected) !== this.ran
  }

  /** Whether another node gives one of the values, so that none is set here; the line then says which. */
  isGiven() {
    return this.widgets.areGiven(Object.keys(this.none), this.view)
  }

  grab(point) {
    if (this.isGiven()) return false
    this.before = this.placed
    this.drag(point)
    return true
  }

  /** The widgets' values by which something is set. */
  get placed() {
    const { values } = this.widgets
    return Object.fromEntries(Object.keys(this.none).map(name => [name, values[name]]))
  }

  giveUp() {
    this.set(this.before)
  }

  drag(point) {
    this.setPoint(point)
  }

  arrow(dx, dy, event) {
    if (this.isGiven()) return
    const from = this.point ?? { x: 0.5, y: 0.5 }, step = event.shiftKey ? 0.05 : 0.01
    this.setPoint({ x: from.x + dx * step, y: from.y + dy * step })
  }

  setPoint({ x, y }) {
    this.set({ point_x: within(x), point_y: within(y) })
  }

  clear() {
    this.set(this.none)
  }

  set(values) {
    this.widgets.set(values)
    this.draw()
  }

  hover(point) {
    if (this.maps) this.say(this.view.dragging ? this.point : point ?? this.moved)
  }

  /** The node's widgets may have changed. */
  update() {
    if (this.maps && JSON.stringify(this.selected) !== this.drawn) this.draw()
  }

  draw() {
    const { selected } = this
    this.drawn = JSON.stringify(selected)
    this.button.style.display = selected ? '' : 'none'
    this.mark(this.view.marks(), Math.max(1, this.view.pixelsPerScreen))
    this.say(this.moved)
  }

  /** Draws what is selected. @param {CanvasRenderingContext2D} context @param {number} unit Pixels of the image in one of the screen. */
  mark(context, unit) {
    if (this.point) this.cross(context, unit, this.point, CROSS)
  }

  /** Draws lines in some directions around a point. */
  cross(context, unit, { x, y }, directions) {
    const left = x * this.maps.width, top = y * this.maps.height
    outlined(context, unit, () => {
      for (const [dx, dy] of directions) {
        context.moveTo(left + 4 * dx * unit, top + 4 * dy * unit)
        context.lineTo(left + 12 * dx * unit, top + 12 * dy * unit)
      }
    })
  }

  /** The point, if it is not that of the run whose text is shown. */
  get moved() {
    return this.isChanged ? this.point : null
  }
}

/** @param {number} share @returns {number} From 0 to 1, in steps of the widgets. */
export function within(share) {
  return Math.round(Math.min(1, Math.max(0, share)) * 1000) / 1000
}
