// What nodes showed when they last ran. The page forgets it when it is loaded again; the server knows it as long as it has the files.

import { api } from '../../scripts/api.js'

/** How long an answer of the server is used for all nodes of a graph, in milliseconds. */
const FRESH = 2000

/** @type {Map<string, {asked: number, runs: Promise<any>}>} */
const answers = new Map()

/**
 * The ids under which a node runs: of the subgraphs around it and its own, as ComfyUI joins them.
 * @param {any} node In a graph.
 * @returns {string[]} Several where its subgraph is used several times.
 */
export function runIds(node) {
  const root = node.graph?.rootGraph ?? node.graph
  return idsIn(root, node).map(ids => ids.join(':'))
}

function idsIn(graph, node) {
  if (!graph) return []
  if (graph === node.graph) return [[node.id]]
  const subgraphs = graph.nodes.filter(each => each.isSubgraphNode?.())
  return subgraphs.flatMap(each => idsIn(each.subgraph, node).map(ids => [each.id, ...ids]))
}

/**
 * @param {any} node In a graph.
 * @param {any} source The node that runs: itself or one in it.
 * @returns {string[]}
 */
function idsOf(node, source) {
  return runIds(node).map(id => node === source ? id : `${id}:${source.id}`)
}

/**
 * What the nodes of a graph gave the page when they last ran, as the server remembers it.
 * @param {any} graph
 * @param {boolean} again Whether there may be something new.
 * @returns {Promise<Record<string, {type: string, shown: object[], notes: string[]}>>} By the nodes' ids.
 */
export function runsOf(graph, again = false) {
  const id = String((graph.rootGraph ?? graph).id)
  if (again || !(performance.now() - answers.get(id)?.asked < FRESH)) {
    const runs = api.fetchApi(`/depth_normal/last_runs?graph=${encodeURIComponent(id)}`).then(answer => answer.ok ? answer.json() : {}).catch(() => ({}))
    answers.set(id, { asked: performance.now(), runs })
  }
  return answers.get(id).runs
}

/**
 * What a node's last run gave the page to show.
 * @param {any} node In a graph.
 * @param {any} source The node that runs: itself or one in it.
 * @returns {Promise<object[]>} Empty if there is nothing.
 */
export async function lastShown(node, source) {
  if (!node.graph) return []
  const runs = await runsOf(node.graph)
  return idsOf(node, source).map(id => runs[id]).find(run => run?.type === source.type)?.shown ?? []
}

/**
 * Calls a function with what a node in a subgraph gives the page when it runs.
 * @param {(ran: (node: any, source: any) => boolean, output: any) => void} show Gets whether a node ran, and its output.
 */
export function whenRun(show) {
  api.addEventListener('executed', ({ detail }) => {
    show((node, source) => idsOf(node, source).includes(String(detail.display_node ?? detail.node)), detail.output)
  })
}
