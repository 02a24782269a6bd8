// An image on a node, with its values under the pointer.

import { describe } from './maps.js'
import { translated } from './words.js'

/** The view on a node with an image and nothing to set in it. */
export class PlainView {
  static get empty() {
    return translated('Run to see the image here.')
  }

  static get hint() {
    return ''
  }

  /** @param {import('./image_view.js').ImageView} view */
  constructor(view) {
    this.view = view
  }

  /** @param {import('./maps.js').Maps[]} images Those of a batch; the first is shown. */
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
    this.view.say(there || this.maps.payload.text || this.constructor.hint)
  }

  update() {}

  dispose() {
    this.maps = null
  }
}
