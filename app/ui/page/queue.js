// The list of images: their state, progress and cancel; one of them is chosen and shown large.

import { translated } from '../web/words.mjs'
import { showImage, worded } from './server.js'

const byId = id => document.getElementById(id)
const ACTIVE = ['downloading', 'loading', 'running']

/** True for a job that is not at its end. @param {{ state: string }} job */
export const isOpen = ({ state }) => state === 'waiting' || ACTIVE.includes(state)

/** A job's state in words. @param {any} job @param {Record<string, any>} downloads @returns {string} */
export function stateInWords(job, downloads = {}) {
  const { state } = job
  if (state === 'waiting') return translated('waiting')
  if (state === 'downloading') {
    const { done = 0, total = 0 } = downloads[job.model] ?? {}
    return total && done ? translated('downloading {0}: {1} %', job.model, Math.floor(100 * done / total)) : translated('connecting to download {0}', job.model)
  }
  if (state === 'loading') return translated('loading {0}', job.model)
  if (state === 'running') return job.share ? translated('running: {0} %', Math.floor(100 * job.share)) : translated('running')
  if (state === 'cancelled') return translated('cancelled')
  if (job.error) return worded(job.error)
  return translated('{0} · {1} s', job.model, job.seconds.toFixed(1))
}

/** The list's part of the page. */
export class Queue {
  /** @param {{ choose: (id: string) => void, remove: (job: any) => void, cancelAll: () => void }} page */
  constructor(page) {
    this.page = page
    this.list = byId('jobs')
    this.rows = new Map()
    this.jobs = []
    this.chosen = null
    // Small images are fetched as they come into sight.
    this.sight = new IntersectionObserver(entries => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) {
        this.sight.unobserve(target)
        showImage(target, `/api/jobs/${target.closest('li').dataset.id}/thumbnail`)
      }
    })
    this.list.addEventListener('keydown', event => this.pressed(event))
    this.list.addEventListener('click', event => {
      const row = event.target.closest('li')
      if (!row) return
      const job = this.jobs.find(({ id }) => id === row.dataset.id)
      if (event.target.closest('.drop')) page.remove(job)
      else page.choose(job.id)
    })
    byId('cancel-all').addEventListener('click', () => page.cancelAll())
  }

  /** @param {any[]} jobs @param {Record<string, any>} downloads @param {{ left: number, total: number }} uploads */
  update(jobs, downloads, uploads) {
    this.jobs = jobs
    const ids = new Set(jobs.map(({ id }) => id))
    for (const [id, row] of this.rows) if (!ids.has(id)) { this.sight.unobserve(row.querySelector('img')); row.remove(); this.rows.delete(id) }
    jobs.forEach((job, place) => {
      const row = this.rows.get(job.id) ?? this.made(job)
      if (this.list.children[place] !== row) this.list.insertBefore(row, this.list.children[place] ?? null)
      this.fill(row, job, downloads)
    })
    const open = jobs.filter(isOpen).length + uploads.left, all = jobs.length + uploads.left
    const count = wanted => jobs.filter(({ state }) => state === wanted).length, failed = count('failed')
    byId('queue-title').textContent = open ? translated('{0} of {1} done', all - open, all) : failed ? translated('{0} done, {1} failed', count('done'), failed) : translated('{0} done', count('done'))
    const bar = byId('queue-progress')
    bar.hidden = !open || all === 1
    bar.value = all ? (all - open) / all : 0
    byId('cancel-all').hidden = open < 2
  }

  made(job) {
    const row = document.createElement('li'), text = document.createElement('span'), image = document.createElement('img')
    row.dataset.id = row.id = job.id
    row.setAttribute('role', 'option')
    Object.assign(image, { alt: '', width: 40, height: 40 })
    this.sight.observe(image)
    text.className = 'text'
    for (const part of ['name', 'state']) text.append(Object.assign(document.createElement('span'), { className: part }))
    const bar = document.createElement('progress')
    text.append(bar)
    // For the pointer alone: the options of a list hold no buttons, and Delete does the same.
    const drop = Object.assign(document.createElement('span'), { className: 'drop', textContent: '×', ariaHidden: 'true' })
    row.append(image, text, drop)
    row.querySelector('.name').textContent = row.title = job.name
    this.rows.set(job.id, row)
    return row
  }

  fill(row, job, downloads) {
    const words = stateInWords(job, downloads), line = row.querySelector('.state'), bar = row.querySelector('progress')
    if (line.textContent !== words) line.textContent = line.title = words
    row.dataset.state = job.state
    bar.hidden = !ACTIVE.includes(job.state)
    const { done, total } = downloads[job.model] ?? {}
    const share = job.state === 'downloading' && total ? done / total : job.share
    if (share) bar.value = share
    else bar.removeAttribute('value')
    const drop = row.querySelector('.drop'), title = isOpen(job) ? translated('Cancel') : translated('Remove from the list; its files stay')
    if (drop.title !== title) drop.title = title
    row.setAttribute('aria-selected', String(job.id === this.chosen))
  }

  /** @param {string | null} id */
  choose(id) {
    this.chosen = id
    for (const [each, row] of this.rows) row.setAttribute('aria-selected', String(each === id))
    if (id) this.list.setAttribute('aria-activedescendant', id)
    this.rows.get(id)?.scrollIntoView({ block: 'nearest' })
  }

  pressed(event) {
    const place = this.jobs.findIndex(({ id }) => id === this.chosen), last = this.jobs.length - 1
    const to = { ArrowDown: Math.min(last, place + 1), ArrowUp: Math.max(0, place - 1), Home: 0, End: last }[event.key]
    if (to != null && last >= 0) this.page.choose(this.jobs[to].id)
    else if ((event.key === 'Delete' || event.key === 'Backspace') && place >= 0) this.page.remove(this.jobs[place])
    else return
    event.preventDefault()
  }
}
