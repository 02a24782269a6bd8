// A question that must be answered before something is done.

import { translated } from '../web/words.mjs'

/**
 * @param {string} words The question.
 * @param {string} yes What is done, on its button; the other one cancels, as Escape does.
 * @returns {Promise<boolean>} Whether it is done.
 */
export function choice(words, yes) {
  const dialog = document.createElement('dialog'), form = document.createElement('form'), actions = document.createElement('div')
  form.method = 'dialog'
  actions.className = 'actions'
  actions.append(...[['', translated('Cancel')], ['yes', yes]].map(([value, textContent]) => Object.assign(document.createElement('button'), { value, textContent })))
  form.append(Object.assign(document.createElement('p'), { textContent: words }), actions)
  dialog.append(form)
  document.body.append(dialog)
  dialog.showModal()
  return new Promise(resolve => dialog.addEventListener('close', () => {
    dialog.remove()
    resolve(dialog.returnValue === 'yes')
  }))
}
