// What Python says on nodes and in errors, in the page's language: the server does not know it. Other packs' messages stay as they are.

import { api } from '../../scripts/api.js'
import { translatedMessage } from './language.js'
import { isOurDefinition, isOurs, nodeAt } from './own_nodes.js'
import { rowOf, WORDS } from './rows.js'

/** Each returns the name and the content of the event in the page's language. */
const TRANSLATED = {
  progress_text(detail) {
    const node = nodeAt(detail.nodeId)
    if (!isOurs(node)) return ['progress_text', detail]
    return [rowOf(node) ? WORDS : 'progress_text', { ...detail, text: translatedMessage(detail.text) ?? detail.text }]
  },
  execution_error(detail) {
    const type = globalThis.LiteGraph?.registered_node_types[detail.node_type]
    const own = isOurDefinition(type?.nodeData) && translatedMessage(detail.exception_message.trim())
    // The English stays below it: logs and reports hold that.
    return ['execution_error', own ? { ...detail, exception_message: `${own}\n\n${detail.exception_message}` } : detail]
  },
}

const dispatch = api.dispatchCustomEvent

if (dispatch) {
  api.dispatchCustomEvent = function (name, detail) {
    let own
    try {
      own = detail && TRANSLATED[name]?.(detail)
    } catch (error) {
      console.warn('Depth & Normals: no translation of', name, error)
    }
    return dispatch.apply(this, own || [name, detail])
  }
}
