// What Python says on nodes and in errors, in the page's language: the server does not know it. Other packs' messages stay as they are.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { translatedMessage } from './language.js'
import { isOurDefinition, isOurs } from './own_nodes.js'

/** The node of an id that the server names: "7", or "3:5" in a subgraph. */
function nodeAt(id) {
  let graph = app.rootGraph ?? app.graph, node = null
  for (const part of String(id).split(':')) {
    node = graph?.getNodeById(part) ?? graph?.getNodeById(Number(part))
    graph = node?.subgraph
  }
  return node
}

/** Each returns the event's content in the page's language. */
const TRANSLATED = {
  progress_text(detail) {
    const own = isOurs(nodeAt(detail.nodeId)) && translatedMessage(detail.text)
    return own ? { ...detail, text: own } : detail
  },
  execution_error(detail) {
    const type = globalThis.LiteGraph?.registered_node_types[detail.node_type]
    const own = isOurDefinition(type?.nodeData) && translatedMessage(detail.exception_message.trim())
    // The English stays below it: logs and reports hold that.
    return own ? { ...detail, exception_message: `${own}\n\n${detail.exception_message}` } : detail
  },
}

const dispatch = api.dispatchCustomEvent

if (dispatch) {
  api.dispatchCustomEvent = function (name, detail) {
    let own = detail
    try {
      own = detail ? TRANSLATED[name]?.(detail) ?? detail : detail
    } catch (error) {
      console.warn('Depth & Normals: no translation of', name, error)
    }
    return dispatch.call(this, name, own)
  }
}
