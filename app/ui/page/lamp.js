// *Light* on this page: the command that makes what is seen, and a file of it, which the server makes.

import { LampMode } from '../web/viewer_lamp.mjs'
import { translated } from '../web/words.mjs'
import { button, making } from './previews.js'
import { ask } from './server.js'

const SETTLE = 300

/**
 * The lamp of one result, for `showResult`.
 * @param {any} job
 * @param {import('./previews.js').Page} page
 */
export function savedLamp(job, page) {
  return class extends LampMode {
    constructor(view, maps, layers) {
      super(view, maps, layers)
      this.save = button(`${translated('Save')} PNG`, () => this.keep())
      this.save.className = 'keep'
      this.controls.push(this.save)
    }

    get path() {
      return `/api/jobs/${job.id}/relight`
    }

    get query() {
      return Object.fromEntries(Object.entries(this.settings).map(([name, value]) => [name, String(value)]))
    }

    draw() {
      super.draw()
      this.isOpen = true
      this.tell()
    }

    schedule() {
      super.schedule()
      clearTimeout(this.settling)
      this.settling = setTimeout(() => this.tell(), SETTLE)
    }

    /** Shows the command. */
    async tell() {
      try {
        const { command } = await ask(this.path, { method: 'POST', query: { ...this.query, plan: '1' } })
        if (this.isOpen) page.command(command)
      } catch (error) {
        if (this.isOpen) page.refused(error.message)
      }
    }

    async keep() {
      this.save.disabled = true
      try {
        const made = await making(await ask(this.path, { method: 'POST', query: this.query }))
        if (made.state === 'failed') page.refused(made.error)
        else if (made.state === 'done') await page.keep(`/api/previews/${made.id}/file`, this.save)
      } catch (error) {
        page.refused(error.message)
      } finally {
        this.save.disabled = false
      }
    }

    close() {
      super.close()
      clearTimeout(this.settling)
      this.isOpen = false
      page.command(null)
    }
  }
}
