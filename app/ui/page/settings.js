// The settings: which model, what it is and where, its download, and how it runs.

import { translated } from '../web/words.mjs'
import { ask, worded } from './server.js'

const KEPT = 'depth-normal settings'
const byId = id => document.getElementById(id)

/** The settings' part of the page. */
export class Settings {
  /** @param {{ refused: (words: string) => void, changed: () => void }} page `refused` says why something is not done. */
  constructor({ refused, changed }) {
    this.refused = refused
    this.models = []
    this.downloads = {}
    this.fields = { model: byId('model'), resolution: byId('resolution'), coding: byId('coding'), refine: byId('refine') }
    for (const field of Object.values(this.fields)) field.addEventListener('change', () => { this.keep(); this.show(); changed() })
    byId('better').addEventListener('click', () => { this.fields.model.value = this.better.id; this.keep(); this.show(); changed(); this.fields.model.focus() })
    byId('download').addEventListener('click', () => this.act('download'))
    byId('download-progress').querySelector('button').addEventListener('click', () => this.act('cancel'))
  }

  /** What a file that is added now is run with. @returns {Record<string, string>} */
  get values() {
    const { model, resolution, coding, refine } = this.fields
    return { model: model.value, resolution: resolution.value, coding: coding.value, refine: refine.checked ? '1' : '' }
  }

  /** Reads the models; called again after a download. */
  async load() {
    const said = await ask('/api/models')
    const chosen = this.fields.model.value || this.kept().model || said.chosen
    this.models = said.models
    const groups = new Map()
    for (const model of this.models) {
      if (!groups.has(model.group)) groups.set(model.group, Object.assign(document.createElement('optgroup'), { label: translated(model.title) }))
      groups.get(model.group).append(new Option(`${model.id}  ·  ${this.shortly(model)}`, model.id))
    }
    this.fields.model.replaceChildren(...groups.values())
    this.fields.model.value = this.models.some(({ id }) => id === chosen) ? chosen : said.chosen
    this.restore()
    this.show()
    return said
  }

  /** @param {Record<string, { state: string, done: number, total: number, error: string }>} downloads */
  update(downloads) {
    const ended = Object.keys(this.downloads).some(model => this.downloads[model].state === 'running' && !downloads[model])
    this.downloads = downloads
    this.show()
    if (ended) this.load().catch(error => this.refused(error.message))
  }

  get model() {
    return this.models.find(({ id }) => id === this.fields.model.value)
  }

  /** The model to offer beside the one in the package. */
  get better() {
    return this.models.find(({ group }) => group === 'recommended')
  }

  shortly(model) {
    return model.bundled ? translated('in the pack') : model.file ? translated('on disk') : model.size_in_words
  }

  show() {
    const { model } = this
    if (!model) return
    const licence = Object.assign(document.createElement('a'), { href: model.page, target: '_blank', rel: 'noreferrer', textContent: model.terms })
    const gives = model.gives.split(', ').map(each => translated(each.replace('metric_depth', 'metres').replaceAll('_', ' '))).join(' + ')
    const where = Object.assign(document.createElement('span'), { className: 'where' })
    where.textContent = model.bundled ? translated('comes with the package') : model.file ? model.file : translated('not on this computer yet: {0}', model.size_in_words)
    byId('model-facts').replaceChildren(`${gives} · `, licence, where)
    byId('better').hidden = !model.bundled || !this.better
    byId('better').textContent = this.better ? translated('Finer, and in metres: {0}', this.better.id) : ''
    const download = this.downloads[model.id], running = download?.state === 'running'
    byId('model-download').hidden = model.bundled || Boolean(model.file)
    const button = byId('download')
    button.hidden = running
    button.textContent = download?.done && !running ? translated('Go on with the download') : translated('Download {0}', model.size_in_words)
    byId('download-progress').hidden = !running
    const bar = byId('download-progress').querySelector('progress')
    if (running && download.done) bar.value = download.done / (download.total || download.done)
    else bar.removeAttribute('value')
    const error = byId('download-error')
    error.hidden = download?.state !== 'failed'
    error.textContent = error.title = download ? worded(download.error) : ''
  }

  async act(action) {
    try {
      this.update((await ask(`/api/models/${this.model.id}/${action}`, { method: 'POST' })).downloads)
    } catch (error) {
      this.refused(error.message)
    }
  }

  kept() {
    try {
      return JSON.parse(sessionStorage.getItem(KEPT)) ?? {}
    } catch {
      return {}
    }
  }

  keep() {
    sessionStorage.setItem(KEPT, JSON.stringify(this.values))
  }

  restore() {
    const { resolution, coding, refine } = this.kept()
    if (resolution) this.fields.resolution.value = resolution
    if (coding) this.fields.coding.value = coding
    this.fields.refine.checked = Boolean(refine)
  }
}
