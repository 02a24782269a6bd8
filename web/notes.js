// What was said on nodes of their inputs and settings: the page clears it when a run ends and forgets it when it is loaded again.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { runIds, runsOf } from './last_runs.js'
import { isOurs } from './own_nodes.js'
import { rowOf } from './rows.js'

/** The page has cleared its words by then, in milliseconds after a run. */
const CLEARED = 200
/** The page's widget for words on a node. */
const WORDS = '$$node-text-preview'

/** What stands on nodes, by their ids. @type {Map<string, string>} */
const standing = new Map()

/** @param {boolean} again Whether something has run. */
async function showNotes(again) {
  const { graph } = app.canvas ?? {}
  if (!graph) return
  const runs = await runsOf(graph, again)
  for (const node of graph.nodes) {
    const id = runIds(node)[0], words = wordsOf(node, id, runs).join('; ')
    if (words && !rowOf(node)?.element.textContent.startsWith(words)) api.dispatchCustomEvent('progress_text', { nodeId: id, text: words })
    else if (!words && standing.has(id)) remove(node, standing.get(id))
    if (words) standing.set(id, words)
    else standing.delete(id)
  }
}

/** A subgraph has those of the nodes in it. */
function wordsOf(node, id, runs) {
  if (node.isSubgraphNode?.()) return Object.keys(runs).filter(each => each.startsWith(`${id}:`)).flatMap(each => runs[each].notes)
  return isOurs(node) && runs[id]?.type === node.type ? runs[id].notes : []
}

/** Removes words that are no longer true. */
function remove(node, words) {
  const row = rowOf(node)
  if (row?.element.textContent.startsWith(words)) row.element.textContent = row.element.title = ''
  const place = (node.widgets ?? []).findIndex(widget => widget.name === WORDS && widget.value === words)
  if (place < 0) return
  node.widgets[place].onRemove?.()
  node.widgets.splice(place, 1)
  node.setDirtyCanvas?.(true, true)
}

// Without a node, the prompt has ended.
api.addEventListener('executing', ({ detail }) => {
  if (detail === null) setTimeout(() => showNotes(true), CLEARED)
})

app.registerExtension({
  name: 'DepthNormal.Notes',
  afterConfigureGraph: () => setTimeout(() => showNotes(false), CLEARED),
})
