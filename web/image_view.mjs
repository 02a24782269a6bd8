// An image in a node: shows it, reports where on it the pointer is, and has a line of text below.

const STYLE = {
  root: 'display:flex;flex-direction:column;width:100%;height:100%;box-sizing:border-box;font:12px sans-serif;color:var(--input-text,#ddd)',
  stage: 'position:relative;isolation:isolate;flex:1 1 0;min-height:0;outline-offset:-2px;touch-action:none;overflow:hidden',
  // Behind the stage's outline, which shows the focus.
  layer: 'position:absolute;z-index:-1;inset:0;width:100%;height:100%;object-fit:contain',
  empty: 'position:absolute;inset:0;display:flex;align-items:center;justify-content:center;text-align:center;padding:4px;opacity:.7',
  bar: 'flex:0 0 auto;display:flex;gap:6px;align-items:center;min-height:30px;padding:2px 4px',
  // Always two lines high, so that the image above does not move when the text changes.
  line: 'flex:1 1 auto;overflow:hidden;display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:3;max-height:45px;line-height:15px;overflow-wrap:anywhere;user-select:text',
}

/** The least height in a node; the same without an image, so that no run makes a node larger. */
export const LEAST_HEIGHT = 190

/**
 * A view's handlers for the pointer over its image. Points are fractions of the image, {x, y}; beside it they are outside 0 to 1.
 * @typedef {object} PointerHandlers
 * @property {(point: {x: number, y: number}, event: PointerEvent) => boolean} [grab] The button goes down; true begins a drag.
 * @property {(point: {x: number, y: number}, event: PointerEvent) => void} [drag]
 * @property {() => void} [giveUp] A second finger ends the drag; `drop` follows.
 * @property {() => void} [drop]
 * @property {(point: {x: number, y: number} | null) => void} [hover] null: the pointer has left.
 * @property {(steps: number, event: WheelEvent | KeyboardEvent) => boolean} [wheel] Also the keys + and -, while the image has the focus; true: it was used.
 * @property {(dx: number, dy: number, event: KeyboardEvent) => void} [arrow] An arrow key, in steps; up is dy = -1.
 * @property {() => boolean} [escape] The Escape key; true: it was used.
 */

/** Shows an image in a node, with its elements and events. */
export class ImageView {
  /**
   * @param {string} empty What stands there while there is no image.
   * @param {PointerHandlers} handlers
   * @param {(event: WheelEvent) => void} passWheel Gives a wheel that nothing here uses to ComfyUI's canvas.
   */
  constructor(empty, handlers = {}, passWheel = () => {}) {
    this.handlers = handlers
    this.passWheel = passWheel
    this.root = styled('div', `${STYLE.root};min-height:${LEAST_HEIGHT}px`)
    this.stage = styled('div', STYLE.stage)
    this.stage.tabIndex = 0
    this.stage.setAttribute('role', 'application') // so that screen readers leave it the arrow keys
    this.stage.dataset.captureWheel = 'true'
    this.canvas = styled('canvas', STYLE.layer)
    this.overlay = styled('canvas', `${STYLE.layer};pointer-events:none`)
    this.empty = styled('div', STYLE.empty)
    this.empty.textContent = this.stage.ariaLabel = empty
    this.bar = styled('div', STYLE.bar)
    this.line = styled('span', STYLE.line)
    this.bar.append(this.line)
    this.stage.append(this.canvas, this.overlay, this.empty)
    this.root.append(this.stage, this.bar)
    this.dragging = false
    this.resize(0, 0)
    this.follow()
  }

  /** @param {number} width Of the image in pixels; 0 = none. @param {number} height */
  resize(width, height) {
    for (const layer of [this.canvas, this.overlay]) if (layer.width !== width || layer.height !== height) Object.assign(layer, { width, height })
    this.width = width
    this.height = height
    this.empty.style.display = width ? 'none' : 'flex'
    // Without an image its place shows the text alone.
    this.bar.style.display = width ? 'flex' : 'none'
  }

  /** @param {string} words Text instead of an image, or why there is none. */
  showEmpty(words) {
    this.empty.textContent = this.stage.ariaLabel = words
    this.resize(0, 0)
  }

  /** @param {any} rgba Bytes. @param {number} width @param {number} height */
  showPixels(rgba, width, height) {
    this.resize(width, height)
    this.canvas.getContext('2d').putImageData(new ImageData(rgba, width, height), 0, 0)
  }

  /** @param {string} text The line below. */
  say(text) {
    this.stage.ariaLabel = text
    if (this.line.textContent !== text) this.line.textContent = this.line.title = text
  }

  /**
   * A cleared overlay to draw marks on.
   * @returns {CanvasRenderingContext2D}
   */
  marks() {
    const context = this.overlay.getContext('2d')
    context.clearRect(0, 0, this.overlay.width, this.overlay.height)
    return context
  }

  /** How many pixels of the image one pixel of the screen covers. */
  get pixelsPerScreen() {
    const { scale } = this.box()
    return scale ? 1 / scale : 1
  }

  /** The rectangle in the page that the image is fitted into. */
  get area() {
    return this.stage.getBoundingClientRect()
  }

  /** The image's rectangle in the page. */
  box() {
    const { area } = this
    const scale = Math.min(area.width / (this.width || 1), area.height / (this.height || 1))
    return {
      scale,
      left: area.left + (area.width - scale * this.width) / 2,
      top: area.top + (area.height - scale * this.height) / 2,
    }
  }

  /** @param {{clientX: number, clientY: number}} event @returns {{x: number, y: number}} Fractions of the image. */
  point(event) {
    const { scale, left, top } = this.box()
    return { x: (event.clientX - left) / (scale * this.width || 1), y: (event.clientY - top) / (scale * this.height || 1) }
  }

  follow() {
    const { stage } = this
    stage.addEventListener('pointerdown', event => this.down(event))
    stage.addEventListener('pointermove', event => this.moved(event))
    for (const name of ['pointerup', 'pointercancel', 'lostpointercapture']) stage.addEventListener(name, event => this.up(event))
    stage.addEventListener('pointerleave', () => this.handlers.hover?.(null))
    stage.addEventListener('wheel', event => this.wheeled(event), { passive: false })
    stage.addEventListener('keydown', event => this.pressed(event))
  }

  down(event) {
    if (event.button !== 0 || !this.width) return
    used(event)
    if (this.dragging || !event.isPrimary) return this.giveUp() // with a second finger ComfyUI's canvas zooms
    stageFocus(this.stage)
    this.dragging = Boolean(this.handlers.grab?.(this.point(event), event))
    this.pointer = event.pointerId
    if (this.dragging) this.stage.setPointerCapture(event.pointerId)
  }

  moved(event) {
    if (!this.width) return
    const point = this.point(event)
    if (this.dragging) {
      event.stopPropagation()
      if (event.pointerId !== this.pointer) return
      this.handlers.drag?.(point, event)
    }
    const inside = point.x >= 0 && point.x <= 1 && point.y >= 0 && point.y <= 1
    this.handlers.hover?.(inside ? point : null)
  }

  up(event) {
    if (event.pointerId === this.pointer) this.end()
  }

  giveUp() {
    if (this.dragging) this.handlers.giveUp?.()
    this.end()
  }

  end() {
    if (!this.dragging) return
    this.dragging = false
    this.handlers.drop?.()
  }

  wheeled(event) {
    const mine = this.width && document.activeElement === this.stage && !event.ctrlKey && !event.metaKey
    if (mine && this.handlers.wheel?.(-Math.sign(event.deltaY || event.deltaX), event)) used(event)
    else this.passWheel(event)
  }

  pressed(event) {
    if (event.key === 'Escape' && this.width && this.handlers.escape?.()) return used(event)
    const nearer = !event.ctrlKey && !event.metaKey && !event.altKey && { '+': 1, '-': -1 }[event.key]
    if (nearer && this.width && this.handlers.wheel?.(nearer, event)) return used(event)
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key]
    if (!step || !this.width || !this.handlers.arrow) return
    used(event)
    this.handlers.arrow(step[0], step[1], event)
  }
}

/**
 * A small button for the bar below an image.
 * @param {string} label
 * @param {string} title Its tooltip.
 * @param {() => void} press
 * @returns {HTMLButtonElement}
 */
export function button(label, title, press) {
  const element = styled('button', 'flex:0 0 auto;font:inherit;color:inherit;background:var(--comfy-input-bg,#333);border:1px solid #8886;border-radius:4px;padding:0 6px;cursor:pointer')
  element.type = 'button'
  element.textContent = label
  element.title = title
  if (!/\w/.test(label)) element.ariaLabel = title // a screen reader would say the sign's name
  element.addEventListener('pointerdown', event => event.stopPropagation())
  element.addEventListener('click', press)
  return element
}

/** @param {string} name @param {string} css @returns {any} An element. */
export function styled(name, css) {
  const element = document.createElement(name)
  element.style.cssText = css
  return element
}

function stageFocus(stage) {
  stage.focus({ preventScroll: true })
}

/** Keeps an event from the page. */
function used(event) {
  event.preventDefault()
  event.stopPropagation()
}
