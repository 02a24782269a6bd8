// The page of `depth-normal ui`. All that it shows of the work is the server's: two tabs show the same, and a reload loses nothing.

import { loadTable, setTable, table } from '../web/language.mjs'
import { chooseLanguage } from '../web/viewer.mjs'
import { WORDS, translated } from '../web/words.mjs'
import { Uploads, droppedFiles, kindsOf, sortedOut, unreadable } from './files.js'
import { Queue, isOpen } from './queue.js'
import { setUsual } from './previews.js'
import { Result } from './result.js'
import { ask } from './server.js'
import { Settings } from './settings.js'
import { UI_MESSAGES, UI_WORDS } from './ui_words.js'

const BUSY = 250
const QUIET = 1000
const MOST_NOTICES = 20
const byId = id => document.getElementById(id)

Object.assign(WORDS, UI_WORDS)
const locale = chooseLanguage()

let state = { version: 0, jobs: [], downloads: {}, out: '' }
let chosen = location.hash.slice(1) || null
// Until somebody chooses an image, the first that is done is shown.
let isFollowing = !chosen
let timer = 0
const seen = new Map()

const settings = new Settings({ refused, changed: () => show() })
const uploads = new Uploads({ settings: () => settings.values, changed: () => { show(); look() }, refused })
const queue = new Queue({ choose: id => choose(id), remove: job => act(job, isOpen(job) ? 'cancel' : 'remove'), cancelAll })
const result = new Result({ act, saved: () => look(), model: () => settings.values.model, refused })

function show(focus = false) {
  const { jobs, downloads } = state
  document.body.dataset.state = jobs.length || uploads.left ? 'working' : 'empty'
  if (chosen && !jobs.some(({ id }) => id === chosen)) setChosen(null)
  if (isFollowing) setChosen((jobs.find(({ state }) => state === 'done') ?? jobs.find(isOpen) ?? jobs[0])?.id ?? null)
  else setChosen(chosen ?? jobs[0]?.id ?? null)
  queue.update(jobs, downloads, uploads)
  result.update(jobs.find(({ id }) => id === chosen) ?? null, downloads, focus)
  byId('folder').querySelector('bdi').textContent = state.out
  tell(jobs)
}

/** Says to a screen reader what has ended. */
function tell(jobs) {
  for (const { id, name, state } of jobs) {
    if (seen.has(id) && seen.get(id) !== state && ['done', 'failed', 'cancelled'].includes(state)) {
      byId('said').textContent = `${name}: ${translated({ done: 'done', failed: 'failed', cancelled: 'cancelled' }[state])}`
    }
    seen.set(id, state)
  }
}

function setChosen(id) {
  if (chosen === id && queue.chosen === id) return
  chosen = id
  history.replaceState(null, '', location.pathname + (id && !isFollowing ? `#${id}` : ''))
  queue.choose(id)
}

function choose(id) {
  isFollowing = false
  setChosen(id)
  show()
}

async function act(job, action) {
  const place = state.jobs.findIndex(({ id }) => id === job.id)
  try {
    take(await ask(`/api/jobs/${job.id}/${action}`, { method: 'POST', query: action === 'again' ? settings.values : undefined }))
    if (action === 'again') choose(state.jobs.at(-1).id)
    if (action === 'remove' && job.id === queue.chosen || !chosen) choose(state.jobs[Math.min(place, state.jobs.length - 1)]?.id ?? null)
  } catch (error) {
    refused(error.message)
  }
  look()
}

async function cancelAll() {
  uploads.cancel()
  try {
    take(await ask('/api/cancel', { method: 'POST' }))
  } catch (error) {
    refused(error.message)
  }
}

function take(said) {
  if (!said) return
  state = said
  settings.update(state.downloads)
  show()
}

/** Looks what is new, and goes on looking. */
async function look() {
  clearTimeout(timer)
  try {
    take(await ask('/api/state', { query: { since: String(state.version) } }))
    byId('gone').hidden = true
  } catch (error) {
    if (error.status === 403) document.body.dataset.state = 'locked'
    byId('gone').hidden = false
    byId('gone').textContent = error.message
  }
  clearTimeout(timer)
  const isBusy = state.jobs.some(isOpen) || uploads.left || Object.values(state.downloads).some(each => each.state === 'running')
  // A long list takes longer to send and to show.
  timer = setTimeout(look, isBusy ? BUSY + state.jobs.length / 4 : QUIET)
}

/** Says what is not done, and what to do, until it is put away. @param {string} words */
function refused(words) {
  const notice = document.createElement('div'), close = document.createElement('button')
  Object.assign(close, { type: 'button', className: 'quiet', textContent: '×', title: translated('Put away') })
  close.setAttribute('aria-label', close.title)
  close.addEventListener('click', () => notice.remove())
  notice.append(Object.assign(document.createElement('p'), { textContent: words }), close)
  const place = byId('notices')
  place.prepend(notice)
  while (place.children.length > MOST_NOTICES) place.lastChild.remove()
}

function add(files, isAll = true) {
  const { taken, left } = isAll || !uploads.limits ? { taken: files, left: [] } : sortedOut(files, uploads.limits.extensions)
  if (left.length) {
    const kinds = kindsOf(left), all = taken.length + left.length
    refused(translated('{0} of {1} files are left out ({2}): this page reads {3}', left.length, all, kinds, uploads.limits.reads))
  } else if (!isAll && !taken.length) {
    refused(translated('there is no image and no video in this folder'))
  }
  if (taken.length) uploads.add(taken)
}

function listen() {
  const pickFiles = byId('pick-files'), pickFolder = byId('pick-folder')
  for (const id of ['choose', 'choose-more']) byId(id).addEventListener('click', () => pickFiles.click())
  for (const id of ['choose-folder', 'folder-more']) byId(id).addEventListener('click', () => pickFolder.click())
  pickFiles.addEventListener('change', () => { add([...pickFiles.files]); pickFiles.value = '' })
  pickFolder.addEventListener('change', () => { add([...pickFolder.files], false); pickFolder.value = '' })
  byId('demo').addEventListener('click', async () => {
    try {
      await ask('/api/demo', { method: 'POST', query: settings.values })
    } catch (error) {
      refused(error.message)
    }
    look()
  })
  byId('folder').addEventListener('click', () => ask('/api/folder', { method: 'POST' }).catch(error => refused(error.message)))
  const overlay = byId('overlay')
  let depth = 0
  const over = on => { overlay.hidden = !on; if (!on) depth = 0 }
  addEventListener('dragenter', event => { if (event.dataTransfer?.types.includes('Files')) { depth++; over(true) } })
  addEventListener('dragleave', () => { if (--depth <= 0) over(false) })
  addEventListener('dragover', event => event.preventDefault())
  addEventListener('drop', async event => {
    event.preventDefault()
    over(false)
    const { files, alone, unread } = await droppedFiles(event.dataTransfer)
    for (const name of unread) refused(unreadable(name))
    add(files, alone)
  })
  addEventListener('paste', event => { if (event.clipboardData?.files.length) add([...event.clipboardData.files]) })
}

function translate() {
  for (const element of document.querySelectorAll('[data-t]')) element.textContent = translated(element.textContent)
  for (const element of document.querySelectorAll('[data-t-label]')) element.setAttribute('aria-label', translated(element.dataset.tLabel))
  for (const element of document.querySelectorAll('[data-t-title]')) element.title = translated(element.dataset.tTitle)
  document.title = translated('Depth & Normals')
}

translate()
listen()
await loadTable(locale)
if (locale !== 'en') setTable({ messages: { ...table.messages, ...Object.fromEntries(Object.entries(UI_MESSAGES).map(([english, words]) => [english, words[locale]])) } })
try {
  const said = await settings.load()
  uploads.limits = said
  setUsual(said.usual)
  byId('pick-files').accept = [...said.extensions.image, ...said.extensions.video].join(',')
} catch (error) {
  if (error.status !== 403) refused(error.message) // `look` says that
}
await look()
document.body.dataset.ready = 'true'
