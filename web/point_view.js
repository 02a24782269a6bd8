// An image on which a point can be set: for nodes with the widgets point_x and point_y, fractions of the image, below 0 for none.

import { outlined } from './light_view.js'
import { button } from './image_view.js'
import { PlainView } from './plain_view.js'
import { translated } from './words.js'

const NONE = -1

/** The view on a node that starts from a point of its image. */
export class PointView extends PlainView {
  static get empty() {
    return translated('Run once, then click a point here.')
  }

  static get hint() {
    return translated('click sets the point')
  }

  /** @param {import('./image_view.js').ImageView} view @param {import('./node_widgets.js').NodeWidgets} widgets */
  constructor(view, widgets) {
    super(view)
    this.widgets = widgets
    this.clear = button('×', translated('Clear the point'), () => widgets.set({ point_x: NONE, point_y: NONE }))
    this.clear.style.display = 'none'
    view.bar.append(this.clear)
  }

  /** @param {import('./maps.js').Maps[]} images Those of a batch; the first is shown. */
  show([maps]) {
    this.ran = JSON.stringify(this.point)
    super.show([maps])
    this.draw()
  }

  get point() {
    const { point_x: x, point_y: y } = this.widgets.values
    return x >= 0 && y >= 0 ? { x, y } : null
  }

  grab(point) {
    this.drag(point)
    return true
  }

  drag({ x, y }) {
    this.widgets.set({ point_x: within(x), point_y: within(y) })
    this.draw()
  }

  arrow(dx, dy, event) {
    const from = this.point ?? { x: 0.5, y: 0.5 }, step = event.shiftKey ? 0.05 : 0.01
    this.drag({ x: from.x + dx * step, y: from.y + dy * step })
  }

  hover(point) {
    if (this.maps) this.say(this.view.dragging ? this.point : point ?? this.moved)
  }

  /** The node's widgets may have changed. */
  update() {
    const { point_x: x, point_y: y } = this.widgets.values
    if (this.maps && (x !== this.drawn?.x || y !== this.drawn?.y)) this.draw()
  }

  draw() {
    const { point } = this, { point_x: x, point_y: y } = this.widgets.values
    this.drawn = { x, y }
    const context = this.view.marks(), unit = Math.max(1, this.view.pixelsPerScreen)
    this.clear.style.display = point ? '' : 'none'
    if (point) {
      const left = point.x * this.maps.width, top = point.y * this.maps.height
      outlined(context, unit, () => {
        for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
          context.moveTo(left + 4 * dx * unit, top + 4 * dy * unit)
          context.lineTo(left + 12 * dx * unit, top + 12 * dy * unit)
        }
      })
    }
    this.say(this.moved)
  }

  /** The point, if it differs from that of the run whose text is shown. */
  get moved() {
    return JSON.stringify(this.point) === this.ran ? null : this.point
  }
}

function within(share) {
  return Math.round(Math.min(1, Math.max(0, share)) * 1000) / 1000
}
