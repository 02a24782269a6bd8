// The chosen image, large: its maps in the viewers, its files, and the command that makes the same; or why there is nothing yet.

import { showResult } from '../web/viewer.mjs'
import { translated } from '../web/words.mjs'
import { savedLamp } from './lamp.js'
import { previewModes } from './previews.js'
import { choice } from './question.js'
import { isOpen, stateInWords } from './queue.js'
import { ask, showImage, worded } from './server.js'

const byId = id => document.getElementById(id)
// How long a signed address can be opened, in milliseconds.
const SIGNED = 3600e3
const NAMES = { depth: 'Depth PNG', normals: 'Normals PNG', npz: 'NPZ', exr: 'EXR', glb: 'GLB', html: 'HTML' }
const TITLES = {
  depth: 'depth as an image of 16 bits, near is white', normals: 'normals as an image', npz: 'the numbers, for Python',
  exr: 'the numbers, for compositing programs', glb: 'a mesh with the image on it', html: 'this view as one file that can be sent',
}

/** The result's part of the page. */
export class Result {
  /** @param {{ act: (job: any, action: string) => void, saved: () => void, model: () => string, refused: (words: string) => void }} page */
  constructor(page) {
    this.page = page
    this.places = Object.fromEntries(['facts', 'modes', 'controls', 'stage'].map(id => [id, byId(id)]))
    this.shown = this.job = this.mode = this.other = null
    this.key = ''
    byId('copy').addEventListener('click', () => this.copy())
    byId('again').title = translated('with the settings as they are now')
    byId('again').addEventListener('click', () => this.page.act(this.job, 'again'))
  }

  /** @param {any} job null: none is chosen. @param {Record<string, any>} downloads @param {boolean} focus Whether the image takes the focus. */
  async update(job, downloads, focus = false) {
    this.job = job
    byId('result').hidden = !job
    byId('hero').hidden = Boolean(job)
    const key = job ? `${job.id} ${job.state} ${Object.keys(job.files)} ${job.command}` : '', isNew = key.split(' ', 2).join() !== this.key.split(' ', 2).join()
    if (job && job.state !== 'done') this.wait(job, downloads)
    if (key === this.key) return
    this.key = key
    if (isNew) this.clear()
    if (!job) return
    byId('title').textContent = byId('title').title = job.name
    this.command(this.other)
    this.files(job)
    byId('wait').hidden = job.state === 'done'
    byId('stage').hidden = job.state !== 'done'
    if (job.state === 'done' && isNew) await this.view(job, focus)
  }

  /** Shows the command that makes what is seen. @param {string | null} words null: that of the result. */
  command(words) {
    this.other = words
    const text = words ?? this.job?.command ?? ''
    if (byId('command').textContent !== text) byId('command').textContent = text
  }

  clear() {
    this.mode = this.shown?.mode ?? this.mode
    this.shown?.close()
    this.shown = null
    this.asked?.abort()
    this.places.stage.removeAttribute('aria-busy')
    for (const place of Object.values(this.places)) place.replaceChildren()
    this.saved('')
  }

  async view(job, focus) {
    if (job.video) return this.films(job)
    const { key } = this, isHere = () => this.key.startsWith(key.split(' ', 2).join(' '))
    this.asked = new AbortController()
    byId('stage').setAttribute('aria-busy', 'true')
    try {
      const payload = await ask(`/api/jobs/${job.id}/view`, { signal: this.asked.signal })
      if (!isHere()) return
      this.shown?.close()
      const page = { command: words => this.command(words), keep: (path, pressed) => this.keep(path, pressed), refused: this.page.refused }
      const more = job.depth ? previewModes(job, page) : []
      this.shown = await showResult(payload, this.places, { first: this.mode, focus, more, Lamp: savedLamp(job, page) })
    } catch (error) {
      if (isHere()) this.places.stage.replaceChildren(Object.assign(document.createElement('p'), { className: 'error', textContent: error.message }))
    } finally {
      if (isHere()) byId('stage').removeAttribute('aria-busy')
    }
  }

  films(job) {
    const films = Object.assign(document.createElement('div'), { className: 'films' })
    for (const kind of Object.keys(job.files)) {
      const figure = document.createElement('figure'), video = document.createElement('video')
      Object.assign(video, { controls: true, loop: true, muted: true, autoplay: true, playsInline: true })
      this.play(video, `/api/jobs/${job.id}/files/${kind}`)
      figure.append(video, Object.assign(document.createElement('figcaption'), { textContent: translated(kind === 'depth' ? 'Depth' : 'Normals') }))
      films.append(figure)
    }
    const early = job.error ? [Object.assign(document.createElement('p'), { className: 'error', textContent: worded(job.error) })] : []
    this.places.stage.replaceChildren(...early, films)
  }

  /** Plays a video from its signed address, and from another one when that has run out. */
  async play(video, path) {
    const began = Date.now(), { currentTime } = video
    try {
      video.src = (await ask(path, { method: 'POST', query: { show: '1' } })).address
      video.currentTime = currentTime
      video.addEventListener('error', () => { if (Date.now() - began > SIGNED) this.play(video, path) }, { once: true })
    } catch (error) {
      this.page.refused(error.message)
    }
  }

  wait(job, downloads) {
    const image = byId('wait-image'), words = byId('wait-words'), bar = byId('wait-progress'), said = stateInWords(job, downloads)
    const source = `/api/jobs/${job.id}/thumbnail`
    if (image.dataset.path !== source) showImage(image, source)
    // Only where it is another: somebody may be selecting it.
    if (words.dataset.said !== said) words.replaceChildren(...job.state === 'failed' ? headed(said) : [said])
    words.dataset.said = said
    words.className = job.state === 'failed' ? 'error' : ''
    bar.hidden = !isOpen(job) || job.state === 'waiting'
    const { done, total } = downloads[job.model] ?? {}, share = job.state === 'downloading' && total ? done / total : job.share
    if (share) bar.value = share
    else bar.removeAttribute('value')
    const model = this.page.model()
    const wanted = isOpen(job)
      ? [['cancel', translated('Cancel')]]
      : [['retry', translated('Try again')], ...model === job.model ? [] : [['again', translated('Run by {0}', model)]], ['remove', translated('Remove')]]
    const place = byId('wait-actions'), key = `${job.id} ${wanted}`
    if (place.dataset.key === key) return
    place.dataset.key = key
    place.replaceChildren(...wanted.map(([action, label]) => button(label, () => this.page.act(this.job, action))))
  }

  files(job) {
    const kinds = Object.keys(NAMES).filter(kind => kind in job.files || job.exports.includes(kind)), place = byId('files'), key = `${job.id} ${kinds}`
    // The same buttons stay where they are: one of them may be under the pointer, or have the focus.
    if (place.dataset.key !== key) place.replaceChildren(...kinds.map(kind => this.fileButton(job, kind)))
    place.dataset.key = key
    for (const element of place.children) element.title = job.files[element.dataset.kind] ?? translated(TITLES[element.dataset.kind])
    byId('again').hidden = job.state !== 'done'
    byId('save').hidden = !kinds.length
  }

  fileButton(job, kind) {
    const label = job.video ? `${translated(kind === 'depth' ? 'Depth' : 'Normals')} MP4` : translated(NAMES[kind])
    const element = button(label, () => this.keep(`/api/jobs/${job.id}/files/${kind}`, element))
    element.dataset.kind = kind
    return element
  }

  /** Downloads a file, and says where it is. One that cannot be made is said on the page; one that would replace another is made where somebody wants that. */
  async keep(path, pressed) {
    pressed.setAttribute('aria-busy', 'true')
    try {
      const made = await this.made(path)
      if (made) {
        Object.assign(document.createElement('a'), { href: made.address, download: '' }).click()
        this.saved(translated('saved: {0}', made.path))
      }
      this.page.saved()
    } catch (error) {
      this.page.refused(error.message)
    } finally {
      pressed.removeAttribute('aria-busy')
    }
  }

  /** @param {string} words Where a file was saved. */
  saved(words) {
    byId('saved').textContent = byId('saved').title = words
  }

  /** The signed address of a file and its path, which is made first; null: it is not made. */
  async made(path) {
    try {
      return await ask(path, { method: 'POST' })
    } catch (error) {
      if (error.status !== 409) throw error
      if (!await choice(error.message, translated('Replace'))) return null
      return ask(path, { method: 'POST', query: { overwrite: '1' } })
    }
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(byId('command').textContent)
      byId('copy').textContent = translated('Copied')
      setTimeout(() => { byId('copy').textContent = translated('Copy') }, 1500)
    } catch {
      getSelection().selectAllChildren(byId('command'))
    }
  }
}

/** What happened, and behind it, smaller, the rest: what to do. @param {string} words */
function headed(words) {
  const [, head, rest] = words.match(/^(.*?[;；。]|[^.]*\.(?=\s))\s*(.+)$/s) ?? [null, words, '']
  const strong = Object.assign(document.createElement('strong'), { textContent: head.replace(/[;；]$/, '') })
  return rest ? [strong, Object.assign(document.createElement('span'), { textContent: rest })] : [strong]
}

function button(label, press) {
  const element = Object.assign(document.createElement('button'), { type: 'button', textContent: label })
  element.addEventListener('click', press)
  return element
}
