// Files that are dropped, chosen or pasted, and their way to the server: one after another, so that the list has their order.

import { translated } from '../web/words.mjs'
import { ask } from './server.js'

const MOST_KINDS = 5

/** Uploads files, and tells how far it is. */
export class Uploads {
  /**
   * @param {{ settings: () => Record<string, string>, changed: () => void, refused: (words: string) => void }} page
   *   `settings` are those of the moment when a file is added; `changed` is called after each file.
   */
  constructor(page) {
    this.page = page
    this.waiting = []
    this.running = 0
    this.total = 0
    this.limits = null
  }

  /** How many files are not with the server yet. */
  get left() {
    return this.waiting.length + this.running
  }

  /** @param {Iterable<File>} files */
  add(files) {
    const query = this.page.settings()
    for (const file of files) {
      this.waiting.push({ file, query })
      this.total++
    }
    this.page.changed()
    if (!this.running && this.waiting.length) this.next()
  }

  /** Gives up what is not with the server yet. */
  cancel() {
    this.waiting = []
    this.page.changed()
  }

  async next() {
    const { file, query } = this.waiting.shift()
    this.running++
    try {
      const problem = this.problemOf(file)
      if (problem) throw new Error(problem)
      await ask('/api/upload', { method: 'POST', body: file, query: { ...query, name: file.name } })
    } catch (error) {
      // `fetch` fails alike where there is no server and where the file cannot be read.
      const isRead = error.status !== 0 || await file.stream().getReader().read().then(() => true, () => false)
      this.page.refused(isRead ? error.message : unreadable(file.name))
    }
    this.running--
    if (!this.left) this.total = 0
    this.page.changed()
    if (this.waiting.length) this.next()
  }

  /** Why the server would refuse a file, where the page knows it before a gigabyte is sent. */
  problemOf(file) {
    if (!this.limits) return null
    const { image, video } = this.limits.extensions, isOf = endings => endings.some(ending => file.name.toLowerCase().endsWith(ending))
    const most = this.limits.limits[isOf(video) ? 'video' : 'image']
    if (file.size <= most) return null
    if (!isOf([...image, ...video])) {
      return translated('{0} is no image or video that this page reads; use {1} (the command line reads HDR and EXR too)', file.name, this.limits.reads)
    }
    return translated('{0} is larger than {1} MB, the most that is taken; scale it down, or use the command line', file.name, Math.floor(most / 2 ** 20))
  }
}

/**
 * The files of a drop, those in folders too, in the order of their names.
 * @param {DataTransfer} transfer
 * @returns {Promise<{ files: File[], alone: boolean, unread: string[] }>} `alone`: no folder was dropped, so that each file is meant;
 *   `unread`: the names of files and folders that cannot be read.
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean)
  if (!entries.length) return { files: [...transfer.files], alone: true, unread: [] }
  const files = [], unread = []
  for (const entry of entries) await collect(entry, files, unread)
  return { files, alone: entries.every(entry => entry.isFile), unread }
}

async function collect(entry, files, unread) {
  const inside = []
  try {
    if (entry.isFile) files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)))
    if (!entry.isDirectory || entry.name.startsWith('.')) return
    const reader = entry.createReader()
    for (;;) {
      // A reader gives a hundred at a time, and nothing at the end.
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))
      if (!some.length) break
      inside.push(...some)
    }
  } catch {
    unread.push(entry.name)
  }
  inside.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }))
  for (const each of inside) await collect(each, files, unread)
}

/** What is said of a file or folder that cannot be read. @param {string} name @returns {string} */
export function unreadable(name) {
  return translated('{0} cannot be read: it was moved, removed or changed meanwhile, or you may not open it; add it again once it can be opened', name)
}

/**
 * Of a folder's files those that can be read, and the rest; hidden files are not meant.
 * @param {File[]} files
 * @param {{ image: string[], video: string[] }} extensions
 * @returns {{ taken: File[], left: File[] }}
 */
export function sortedOut(files, extensions) {
  const endings = [...extensions.image, ...extensions.video], shown = files.filter(({ name }) => !name.startsWith('.'))
  const isTaken = ({ name }) => endings.some(ending => name.toLowerCase().endsWith(ending))
  return { taken: shown.filter(isTaken), left: shown.filter(file => !isTaken(file)) }
}

/** Kinds of files with their numbers, such as ".heic 12, .txt 1"; the most frequent ones. @param {File[]} files @returns {string} */
export function kindsOf(files) {
  const counts = new Map()
  for (const { name } of files) {
    const kind = name.match(/\.[^.]+$/)?.[0].toLowerCase() ?? translated('without an extension')
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
  }
  const named = [...counts].sort(([one, many], [other, more]) => more - many || one.localeCompare(other)).map(each => each.join(' '))
  return [...named.slice(0, MOST_KINDS), ...named.length > MOST_KINDS ? ['...'] : []].join(', ')
}
