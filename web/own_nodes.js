// Which nodes of the page are this pack's.

import { app } from '../../scripts/app.js'

const OWN = 'DepthNormal_'
const packs = new Set()

/** Notes a node's pack. @param {any} definition Of a node, as /object_info has it. */
export function noteDefinition(definition) {
  if (definition.name.startsWith(OWN)) packs.add(definition.python_module)
}

/** @param {any} definition @returns {boolean} Whether this pack serves the node: under its own id, or under another pack's. */
export const isOurDefinition = definition => packs.has(definition?.python_module)

/** @param {any} node Of LiteGraph. @returns {boolean} */
export const isOurs = node => isOurDefinition(node?.constructor?.nodeData)

/** The node of an id that the server names: "7", or "3:5" in a subgraph. */
export function nodeAt(id) {
  let graph = app.rootGraph ?? app.graph, node = null
  for (const part of String(id).split(':')) {
    node = graph?.getNodeById(part) ?? graph?.getNodeById(Number(part))
    graph = node?.subgraph
  }
  return node
}
