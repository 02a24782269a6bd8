// An image on which points or a box can be set: for nodes that also have the widgets box_left, box_top, box_right and box_bottom, fractions
// of the image, below 0 for none, and more_points and not_points, texts of "x,y x,y". The box takes the place of the first point, so that one
// of both is set at most; the further points correct either.

import { outlined } from './light_view.mjs'
import { BAR, CROSS, NONE, PointView, within } from './point_view.mjs'
import { translated } from './words.mjs'

const NO_FURTHER = { more_points: '', not_points: '' }
const SIDES = ['box_left', 'box_top', 'box_right', 'box_bottom']
const NO_BOX = Object.fromEntries(SIDES.map(name => [name, NONE]))
/** A drag is a box from so many pixels of the screen on, in both directions. */
const LEAST = 4
/** Two clicks are a double click within so many milliseconds and pixels of the screen. */
const TWICE = { milliseconds: 400, pixels: 8 }
/** A click is on a point within so many pixels of the screen. */
const NEAR = 8
/** Height and width of a box that the keyboard begins with, and the least that it leaves. */
const FIRST = 0.2
const THINNEST = 0.01

/** The view on a node that selects what is at a point or in a box of its image. */
export class BoxView extends PointView {
  static get empty() {
    return translated('Run once, then click a point or drag a box here.')
  }

  static get hint() {
    return translated('click: a point, with Shift one more, with Alt one that is not in it, on such a point: remove it; drag: a box; Escape or double click: clear')
  }

  get clearing() {
    return translated('Clear the points and the box')
  }

  get none() {
    return { ...super.none, ...NO_BOX, ...NO_FURTHER }
  }

  /** Left, top, right and bottom, 0 to 1. @returns {number[] | null} */
  get box() {
    const { values } = this.widgets, sides = SIDES.map(name => values[name])
    return sides.every(side => side >= 0) ? sides : null
  }

  get selected() {
    const { box, widgets: { values } } = this, first = box ? { box } : this.point
    return first && { ...first, more: values.more_points, not: values.not_points }
  }

  /** A click with Alt sets `select`, too, so giving it up restores that. */
  get placed() {
    return { ...super.placed, select: this.widgets.values.select }
  }

  grab(point, event) {
    if (this.isGiven()) return false
    this.before = this.placed
    if (event.altKey && !this.selected) return false // there is no object yet
    if (this.selected && (event.shiftKey || event.altKey)) return this.switchPoint(event.altKey ? 'not_points' : 'more_points', point)
    this.start = { point, event, isBox: false }
    this.set(this.none)
    this.setPoint(point)
    return true
  }

  drag(point, event) {
    if (!this.start) return
    const { point: first, event: down } = this.start
    this.start.isBox ||= Math.min(Math.abs(event.clientX - down.clientX), Math.abs(event.clientY - down.clientY)) >= LEAST
    if (this.start.isBox) this.setBox([first.x, first.y, point.x, point.y])
  }

  giveUp() {
    this.start = null
    super.giveUp()
  }

  drop() {
    const { start, last } = this, click = start && !start.isBox ? start.event : null
    const isDouble = click && last && isTwice(last, click)
    this.start = null
    this.last = isDouble ? null : click
    if (isDouble) this.clear()
  }

  arrow(dx, dy, event) {
    if (this.isGiven()) return
    const step = event.shiftKey ? 0.05 : 0.01, { box } = this
    if (event.altKey) this.setBox(enlarged(box ?? around(this.point ?? { x: 0.5, y: 0.5 }), dx * step, dy * step), true)
    else if (box) this.setBox(moved(box, dx * step, dy * step), true)
    else super.arrow(dx, dy, event)
  }

  escape() {
    if (!this.selected) return false
    this.start = this.last = null
    this.clear()
    return true
  }

  setPoint(point) {
    this.set({ ...NO_BOX, point_x: within(point.x), point_y: within(point.y) })
  }

  /**
   * Removes the further point of either list that a click is on, or adds one; a click on the first point or beside the box changes nothing.
   * @param {'more_points' | 'not_points'} name Where it is added.
   * @param {{x: number, y: number}} point
   * @returns {boolean} Whether something changed.
   */
  switchPoint(name, point) {
    const { values } = this.widgets, x = within(point.x), y = within(point.y), there = this.furtherAt({ x, y })
    if (there) this.set({ [there.name]: wordsOf(values[there.name]).filter((_, place) => place !== there.place).join(' ') })
    else if (this.box ? !isIn(this.box, { x, y }) : this.pixelsBetween(this.point, { x, y }) < NEAR) return false
    else this.addPoint(name, `${x},${y}`)
    return true
  }

  /** @param {'more_points' | 'not_points'} name @param {string} word */
  addPoint(name, word) {
    // Only an object can leave out points: a surface with some is an error. What is in a box is an object in any case.
    const select = name === 'not_points' && !this.box ? { select: 'object' } : {}
    this.set({ ...select, [name]: [...wordsOf(this.widgets.values[name]), word].join(' ') })
  }

  /** The nearest further point that a click at a place is on: the widget that holds it, and which of its words. */
  furtherAt(place) {
    const found = Object.keys(NO_FURTHER).flatMap(name => wordsOf(this.widgets.values[name]).map((word, index) => {
      const [point] = pointsOf(word)
      return { name, place: index, apart: point ? this.pixelsBetween(point, place) : Infinity }
    }))
    return found.filter(({ apart }) => apart < NEAR).sort((one, other) => one.apart - other.apart)[0]
  }

  /** How far two points are apart on the screen. */
  pixelsBetween(one, other) {
    const { width, height } = this.maps
    return Math.hypot((one.x - other.x) * width, (one.y - other.y) * height) / this.view.pixelsPerScreen
  }

  /**
   * @param {number[]} corners Two opposite ones: x, y, x, y.
   * @param {boolean} keeps Whether further points stay, but for those that the object lacks and that are no longer in the box.
   */
  setBox([x, y, otherX, otherY], keeps = false) {
    const [left, right] = [x, otherX].map(within).sort(inOrder), [top, bottom] = [y, otherY].map(within).sort(inOrder)
    // Beside the image, and where a pixel of the screen is less than a step of the widgets, there is no box.
    if (left >= right || top >= bottom) return
    const { values } = this.widgets, box = [left, top, right, bottom]
    const inBox = wordsOf(values.more_points).filter(word => pointsOf(word).every(point => isIn(box, point)))
    const further = keeps && this.box ? { more_points: inBox.join(' '), not_points: values.not_points } : {}
    this.set({ ...this.none, ...further, box_left: left, box_top: top, box_right: right, box_bottom: bottom })
  }

  mark(context, unit) {
    const { box } = this, { width, height } = this.maps
    this.markPoints(context, unit)
    if (!box) return
    const [left, top, right, bottom] = box
    outlined(context, unit, () => context.rect(left * width, top * height, (right - left) * width, (bottom - top) * height))
  }

  /** Draws crosses at points, and bars at those that are not of the object. */
  markPoints(context, unit) {
    if (!this.box) super.mark(context, unit)
    if (!this.selected) return
    const { more_points: more, not_points: not } = this.widgets.values
    for (const point of pointsOf(more)) this.cross(context, unit, point, CROSS)
    for (const point of pointsOf(not)) this.cross(context, unit, point, BAR)
  }

  say(point) {
    const { box } = this
    if (point || !this.isChanged || (this.selected && !box)) super.say(point)
    else if (!box) this.view.say(translated('cleared; click a point or drag a box, or run to see the mask without'))
    else this.view.say(translated('box from {0}, {1} to {2}, {3}; run to see what is in it', ...box.map(side => side.toFixed(2))))
  }
}

/** @param {string | undefined} text As the widgets hold points. @returns {{x: number, y: number}[]} Without what is no point. */
export function pointsOf(text) {
  const pairs = wordsOf(text).map(word => word.split(',')).filter(pair => pair.length === 2 && !pair.includes(''))
  return pairs.map(pair => pair.map(Number)).filter(pair => pair.every(Number.isFinite)).map(([x, y]) => ({ x, y }))
}

function wordsOf(text) {
  return (text ?? '').split(/\s+/).filter(Boolean)
}

/** @param {number[]} box */
function isIn([left, top, right, bottom], { x, y }) {
  return left <= x && x <= right && top <= y && y <= bottom
}

function inOrder(one, other) {
  return one - other
}

function isTwice(one, other) {
  const apart = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY)
  return other.timeStamp - one.timeStamp < TWICE.milliseconds && apart < TWICE.pixels
}

function around({ x, y }) {
  const [left, top] = [x, y].map(middle => Math.min(1 - FIRST, Math.max(0, middle - FIRST / 2)))
  return [left, top, left + FIRST, top + FIRST]
}

/** @param {number[]} box */
function enlarged([left, top, right, bottom], dx, dy) {
  return [left, top, Math.max(left + THINNEST, right + dx), Math.max(top + THINNEST, bottom + dy)]
}

/** @param {number[]} box */
function moved([left, top, right, bottom], dx, dy) {
  const along = Math.min(1 - right, Math.max(-left, dx)), down = Math.min(1 - bottom, Math.max(-top, dy))
  return [left + along, top + down, right + along, bottom + down]
}
