// What nodes showed when they last ran, and of which graph a run is. The page forgets both when it is loaded again; the server knows the
// first as long as it has the files.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'

/** How long an answer of the server is used for all nodes of a graph, in milliseconds. */
const FRESH = 2000

/** @type {Map<string, {asked: number, runs: Promise<any>}>} */
const answers = new Map()

/** The id of a graph after the page was cleared. It gets another one when it is made anew, by an undo or a reload. */
const NO_ID = /^(undefined|[0-]+)$/
/** Where the browser keeps `places` while the page is loaded again, and how many. */
const KEPT = 'DepthNormal.Places'
const MOST = 200

/**
 * Where a prompt was queued: the id of its graph and its tab in the page. Two tabs may hold copies of one file, with the same id.
 * @typedef {{graph: string, tab: string | undefined}} Place
 */

/** By the prompts' ids. ComfyUI's page gives every result to the node of the same number, whichever graph it shows. @type {Map<string, Place>} */
const places = new Map(JSON.parse(sessionStorage.getItem(KEPT) ?? '[]'))
/** Of the prompt that is being queued: its first events may come before the server's answer. @type {Place | null} */
let queuing = null

const store = () => app.extensionManager?.workflow

/** @returns {Place} Of the graph that the page shows. */
export const shownPlace = () => ({ graph: String((app.rootGraph ?? app.graph)?.id), tab: store()?.activeWorkflow?.path })

const { queuePrompt } = api

api.queuePrompt = async function (number, data, ...more) {
  const shown = shownPlace(), place = queuing = { ...shown, graph: String(data?.workflow?.id ?? shown.graph) }
  try {
    const queued = await queuePrompt.call(this, number, data, ...more)
    places.set(queued?.prompt_id, place)
    sessionStorage.setItem(KEPT, JSON.stringify([...places].slice(-MOST)))
    return queued
  } finally {
    if (queuing === place) queuing = null
  }
}

/** @param {string | undefined} prompt The id of one. @returns {Place | null} Null if this page did not queue it. */
export const queuedAt = prompt => places.get(prompt) ?? queuing

/** @param {string | undefined} prompt The id of one. @returns {boolean} Whether it was queued from the graph that the page shows. */
export function isOfShown(prompt) {
  const place = queuedAt(prompt), shown = shownPlace()
  if (!place) return false
  // A tab that is saved has another path from then on; a page that has just been loaded does not know it yet.
  const isOpen = path => (store()?.openWorkflows ?? []).some(tab => tab.path === path)
  if (place.graph === shown.graph) return place.tab === shown.tab || !shown.tab || !isOpen(place.tab)
  return NO_ID.test(place.graph) && place.tab === shown.tab
}

/** Whether the results of a prompt may be shown: of those of an earlier page nobody knows the tab. */
const isLastOfShown = prompt => !places.has(prompt) || isOfShown(prompt)

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
 * @returns {Promise<Record<string, {type: string, prompt: string, shown: object[], notes: string[]}>>} By the nodes' ids.
 */
export function runsOf(graph, again = false) {
  const id = String((graph.rootGraph ?? graph).id)
  if (again || !(performance.now() - answers.get(id)?.asked < FRESH)) {
    const runs = api.fetchApi(`/depth_normal/last_runs?graph=${encodeURIComponent(id)}`).then(answer => answer.ok ? answer.json() : {}).catch(() => ({}))
    answers.set(id, { asked: performance.now(), runs })
  }
  return answers.get(id).runs.then(runs => Object.fromEntries(Object.entries(runs).filter(([, { prompt }]) => isLastOfShown(prompt))))
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
 * Calls a function with what a node of the shown graph gives the page when it runs. The page's own call, `onExecuted`, does not say which
 * prompt ran, and a subgraph is told nothing of what runs in it.
 * @param {(ran: (node: any, source: any) => boolean, output: any) => void} show Gets whether a node ran, and its output.
 */
export function whenRun(show) {
  api.addEventListener('executed', ({ detail }) => {
    if (!isOfShown(detail.prompt_id)) return
    show((node, source) => idsOf(node, source).includes(String(detail.display_node ?? detail.node)), detail.output)
  })
}
