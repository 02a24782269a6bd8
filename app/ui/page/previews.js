// Two more views of a result, which the server makes when they are looked at: images for both eyes, and a small camera move.

import { table } from '../web/language.mjs'
import { translated } from '../web/words.mjs'
import { ask, blobAddress } from './server.js'

const LOOK = 200
const SETTLE = 300
const WIGGLE = 220
const CALM_WIGGLE = 1500
// Wider than what a canvas, or a screen, shows.
const WIDEST = 4096
const WAITING = ['waiting', 'running']
const LAYOUTS = {
  wiggle: 'wiggle', anaglyph: 'red-cyan', 'full-sbs': 'side by side', 'half-sbs': 'side by side, half width',
  'full-tb': 'top and bottom', 'half-tb': 'top and bottom, half height', 'cross-eyed': 'cross-eyed',
}
const HINTS = {
  wiggle: 'both eyes in turn, in depth without glasses', anaglyph: 'for red-cyan glasses', 'cross-eyed': 'cross your eyes until the two become one',
}
const MOVES = { orbit: 'orbit', swing: 'left and right', dolly: 'forward and back' }

/** What is set stays set for the next image. */
const last = { stereo: {}, parallax: {} }

/**
 * What a mode asks of the page. `command` shows another command than that of the result; null: the result's again.
 * @typedef {{ command: (words: string | null) => void, keep: (path: string, pressed: HTMLElement) => Promise<void>, refused: (words: string) => void }} Page
 */

/** What the sliders begin with, as the commands' options have it. @type {Record<string, number>} */
let usual = {}

/** @param {Record<string, number>} values Of /api/models. */
export function setUsual(values) {
  usual = values
}

/**
 * The modes of one result, for `showResult`.
 * @param {any} job
 * @param {Page} page
 */
export function previewModes(job, page) {
  return [
    class extends StereoMode { constructor(view, maps) { super(view, maps, job, page) } },
    class extends ParallaxMode { constructor(view, maps) { super(view, maps, job, page) } },
  ]
}

/** What both have in common: settings, a file that the server makes of them, its progress, and the file to keep. */
class MadeMode {
  constructor(view, job, page, kind, fields) {
    Object.assign(this, { view, job, page, kind, fields, made: null, shown: null, isOpen: false, timer: 0, turn: 0 })
    for (const [name, field] of Object.entries(fields)) {
      const input = field.lastChild
      if (name in last[kind]) input.value = last[kind][name]
      input.addEventListener('change', () => this.changed())
      input.addEventListener('input', () => { if (input.type === 'range') this.changed() })
    }
    this.bar = Object.assign(document.createElement('progress'), { max: 1, className: 'making' })
    this.bar.setAttribute('aria-label', translated('running'))
    this.stop = button(translated('Cancel'), () => this.cancel())
    this.again = button(translated('Try again'), () => this.make())
    this.save = button(`${translated('Save')} ${kind === 'stereo' ? 'PNG' : 'MP4'}`, () => page.keep(`/api/previews/${this.made.id}/file`, this.save))
    this.save.className = 'keep'
    this.controls = [...Object.values(fields), this.bar, this.stop, this.again, this.save]
    this.refresh()
  }

  get settings() {
    return Object.fromEntries(Object.entries(this.fields).map(([name, field]) => [name, field.lastChild.value]))
  }

  /** Called when the mode is chosen, and when its place has another size. */
  draw() {
    if (this.isOpen) return this.paint()
    this.isOpen = true
    if (this.shown) this.begin()
    else this.view.showEmpty('')
    this.make()
  }

  close() {
    this.isOpen = false
    clearTimeout(this.timer)
    this.rest()
    this.page.command(null)
  }

  changed() {
    Object.assign(last[this.kind], this.settings)
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.make(), SETTLE)
  }

  async make() {
    clearTimeout(this.timer)
    const turn = ++this.turn
    try {
      this.take(await ask(`/api/jobs/${this.job.id}/${this.kind}`, { method: 'POST', query: this.asked() }), turn)
    } catch (error) {
      this.failed(error.message)
    }
  }

  asked() {
    return this.settings
  }

  async look(turn) {
    try {
      this.take(await ask(`/api/previews/${this.made.id}`), turn)
    } catch (error) {
      this.failed(error.message)
    }
  }

  async cancel() {
    const turn = ++this.turn
    clearTimeout(this.timer)
    try {
      this.take(await ask(`/api/previews/${this.made.id}/cancel`, { method: 'POST' }), turn)
    } catch (error) {
      this.failed(error.message)
    }
  }

  async take(made, turn) {
    if (turn !== this.turn || !this.isOpen) return
    this.made = made
    this.page.command(made.command)
    this.refresh()
    if (WAITING.includes(made.state)) {
      if (!this.shown) this.view.showEmpty(translated('running'))
      this.timer = setTimeout(() => this.look(turn), LOOK)
    } else if (made.state === 'failed') {
      this.failed(made.error)
    } else if (made.state === 'cancelled') {
      if (this.shown) this.view.say(translated('cancelled'))
      else this.view.showEmpty(translated('cancelled'))
    } else {
      await this.open(made, turn)
    }
  }

  async open(made, turn) {
    try {
      const shown = await this.loaded(await blobAddress(`/api/previews/${made.id}/file`))
      if (turn !== this.turn || !this.isOpen) return
      this.rest()
      this.shown = shown
      this.begin()
    } catch {
      if (turn === this.turn && this.isOpen) this.failed(translated('this browser cannot show it; save it, and open the file'))
    }
  }

  failed(words) {
    if (this.shown) this.view.say(words)
    else this.view.showEmpty(words)
    this.refresh()
  }

  refresh() {
    const { state, share, id, name } = this.made ?? {}, isMaking = WAITING.includes(state)
    this.bar.hidden = this.stop.hidden = !isMaking
    this.again.hidden = !['failed', 'cancelled'].includes(state)
    this.save.hidden = state !== 'done'
    if (share) this.bar.value = share
    else this.bar.removeAttribute('value')
    this.save.title = name ?? ''
    this.save.dataset.id = id ?? ''
  }

  /** Draws a part of what was loaded, as large as a canvas may be. */
  put(source, left, top, width, height) {
    const share = Math.min(1, WIDEST / Math.max(width, height)), size = [width, height].map(side => Math.max(1, Math.round(side * share)))
    this.view.resize(...size)
    this.view.marks()
    const context = this.view.canvas.getContext('2d')
    context.clearRect(0, 0, ...size) // what was there shows through where the image is transparent
    context.drawImage(source, left, top, width, height, 0, 0, ...size)
  }

  /** Moves a setting by so many steps, as the arrow keys do. */
  step(name, steps) {
    const input = this.fields[name].lastChild
    input.value = String(Number(input.value) + steps * Number(input.step))
    this.changed()
  }
}

class StereoMode extends MadeMode {
  static get label() {
    return translated('Stereo')
  }

  constructor(view, maps, job, page) {
    super(view, job, page, 'stereo', {
      layout: choice(translated('layout of the two eyes'), LAYOUTS),
      divergence: range(translated('depth effect'), 0, 10, 0.5, usual.divergence),
      convergence: range(translated('on the screen'), 0, 1, 0.05, usual.convergence),
    })
    this.fields.divergence.title = translated('shift between near and far, in percent of the width')
    this.fields.convergence.title = translated('what lies on the screen: left the far end, right the near end')
    this.isRight = false
  }

  get layout() {
    return this.fields.layout.lastChild.value
  }

  get hint() {
    return translated(HINTS[this.layout] ?? 'both eyes, for headsets and 3D screens')
  }

  asked() {
    return { ...this.settings, layout: this.layout === 'wiggle' ? 'full-sbs' : this.layout }
  }

  async loaded(source) {
    const image = Object.assign(new Image(), { src: source })
    await image.decode().finally(() => URL.revokeObjectURL(source))
    return { image, layout: this.layout }
  }

  begin() {
    clearInterval(this.swinging)
    this.view.say(this.hint)
    this.paint()
    if (this.shown.layout !== 'wiggle') return
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches
    this.swinging = setInterval(() => { this.isRight = !this.isRight; this.paint() }, calm ? CALM_WIGGLE : WIGGLE)
  }

  paint() {
    if (!this.shown) return
    const { image, layout } = this.shown, { naturalWidth: width, naturalHeight: height } = image
    if (layout === 'wiggle') this.put(image, this.isRight ? width / 2 : 0, 0, width / 2, height)
    else this.put(image, 0, 0, width, height)
  }

  rest() {
    clearInterval(this.swinging)
  }

  arrow(dx, dy) {
    if (dx) this.step('divergence', dx)
    else this.step('convergence', -dy)
  }
}

class ParallaxMode extends MadeMode {
  static source = ''

  static get label() {
    return translated('Parallax')
  }

  constructor(view, maps, job, page) {
    super(view, job, page, 'parallax', {
      move: choice(translated('the move of the camera'), MOVES),
      amount: range(translated('move'), 0, 0.2, 0.01, usual.amount),
      focus: range(translated('stays in place'), 0, 1, 0.05, usual.focus),
      side: choice(translated('pixels of the longer side, at most'), { 960: '960 px', 1920: '1920 px' }),
    })
    this.fields.amount.title = translated('how far the camera goes; 1 is the distance to the near end')
    this.fields.focus.title = translated('what stays where it is: left the far end, right the near end')
    this.pause = button('', () => this.toggle())
    this.controls.splice(-1, 0, this.pause)
    this.refresh()
  }

  get hint() {
    return translated('a loop of two seconds')
  }

  refresh() {
    super.refresh()
    if (!this.pause) return
    this.pause.hidden = !this.shown
    this.pause.textContent = translated(this.shown?.paused ? 'Play' : 'Pause')
  }

  async loaded(source) {
    // One video is shown at a time.
    URL.revokeObjectURL(ParallaxMode.source)
    ParallaxMode.source = source
    const video = Object.assign(document.createElement('video'), { src: source, muted: true, loop: true, playsInline: true })
    await new Promise((resolve, reject) => {
      video.addEventListener('loadeddata', resolve, { once: true })
      video.addEventListener('error', reject, { once: true })
    })
    return video
  }

  begin() {
    this.view.say(this.hint)
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches
    if (!calm) this.shown.play().catch(() => {})
    this.refresh()
    const next = () => {
      if (this.isOpen) this.frame = requestAnimationFrame(next)
      this.paint()
    }
    cancelAnimationFrame(this.frame)
    next()
  }

  toggle() {
    if (this.shown.paused) this.shown.play().catch(() => {})
    else this.shown.pause()
    this.refresh()
  }

  paint() {
    if (this.shown) this.put(this.shown, 0, 0, this.shown.videoWidth, this.shown.videoHeight)
  }

  rest() {
    cancelAnimationFrame(this.frame)
    this.shown?.pause()
  }

  arrow(dx, dy) {
    if (dx) this.step('amount', dx)
    else this.step('focus', -dy)
  }
}

/** A preview at its end. @param {any} made As the server describes it. */
export async function making(made) {
  while (WAITING.includes(made.state)) {
    await new Promise(resolve => setTimeout(resolve, LOOK))
    made = await ask(`/api/previews/${made.id}`)
  }
  return made
}

/** A list; the words of ComfyUI's nodes where there are translations. */
function choice(title, labels) {
  const element = document.createElement('label'), list = document.createElement('select')
  list.append(...Object.entries(labels).map(([value, label]) => new Option(table.choices[value] ?? translated(label), value)))
  list.setAttribute('aria-label', title)
  element.title = title
  element.append(list)
  return element
}

function range(text, min, max, step, value) {
  const element = document.createElement('label'), input = document.createElement('input')
  Object.assign(input, { type: 'range', min, max, step, value })
  element.append(text, input)
  return element
}

export function button(label, press) {
  const element = Object.assign(document.createElement('button'), { type: 'button', className: 'quiet', textContent: label })
  element.addEventListener('click', press)
  return element
}
