// Nodes of the page: which are this pack's, and what happens to one, for the pack's other scripts.

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

/** @returns {any[]} All nodes of the page's graph, those in subgraphs too. */
export function allNodes() {
  const root = app.rootGraph ?? app.graph
  return [root, ...root?.subgraphs?.values() ?? []].flatMap(graph => graph?.nodes ?? [])
}

const LOOKS_A_SECOND = 8

/**
 * Calls a function after a node's own handler of the same name.
 * @param {any} node Of LiteGraph.
 * @param {string} name Such as 'onExecuted'.
 * @param {(...values: any[]) => void} action Gets the handler's arguments.
 */
export function after(node, name, action) {
  const before = node[name]
  node[name] = function (...values) {
    const result = before?.apply(this, values)
    action(...values)
    return result
  }
}

/**
 * Whether a node is in the graph that the page holds, or in one of its subgraphs. Loading a graph drops subgraphs without telling their
 * nodes; nodes that were only created, for a preview or a copy, are in no graph.
 * @param {any} node
 * @returns {boolean}
 */
export function isInGraph(node) {
  const { graph } = node
  if (!graph || graph.getNodeById(node.id) !== node) return false
  const root = graph.rootGraph ?? graph
  return root === graph || root.subgraphs?.get(graph.id) === graph
}

/** What is looked at while its node is in a graph. @type {Set<{node: any, look: () => void, left: () => void}>} */
const watched = new Set()

/**
 * Looks at a node several times a second while it is in a graph. Values change by typing, undo, links and other packs: looking misses none of
 * these ways.
 * @param {any} node
 * @param {() => void} look
 * @param {() => void} [left] Called once the node is no longer in a graph; it may come back.
 */
export function watch(node, look, left = () => {}) {
  const entry = { node, look, left }
  if (isInGraph(node)) watched.add(entry)
  after(node, 'onAdded', () => watched.add(entry))
  after(node, 'onRemoved', () => leave(entry))
}

function leave(entry) {
  if (watched.delete(entry)) entry.left()
}

setInterval(() => {
  for (const entry of watched) {
    if (isInGraph(entry.node)) entry.look()
    else leave(entry)
  }
}, 1000 / LOOKS_A_SECOND)
