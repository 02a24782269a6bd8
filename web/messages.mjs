// What Python says on nodes and in errors, in the page's language: the server does not know it. Other packs' messages stay as they are.
// It stands in a row that is there from the start and stays after the run: core's own comes with the first message, makes the node larger,
// takes half of an image's place and goes with the run. In the classic page, which shows advanced widgets too, they stand below the image.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { styled } from './image_view.mjs'
import { translatedLine, translatedMessage } from './language.mjs'
import { isOfShown, queuedAt, runIds, runsOf, shownPlace } from './last_runs.mjs'
import { isOurDefinition, isOurs, nodeAt } from './nodes.mjs'

/** The event of a message on a node: {nodeId, text}. */
const WORDS = 'depth_normal_words'
const ROW = '$$depth_normal_words'
/** Two lines. */
const HEIGHT = 30
/** Nodes whose maps core shows after a run, and the height for them. @type {Record<string, number>} */
const MAPS = { DepthNormal_DepthAndNormals: 440, DepthNormal_EstimatePanorama: 440, DepthNormal_SaveTexture: 220 }
const STYLE = 'overflow:hidden;display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2;min-height:28px;font:11px/14px sans-serif;color:var(--input-text,#ddd);overflow-wrap:anywhere;user-select:text'

/** @param {any} node @returns {any} The row's widget; undefined on nodes that say nothing. */
const rowOf = node => node?.widgets?.find(widget => widget.name === ROW)

/** Nodes that nothing leads into have their output at once, unless they load a model. */
const speaks = node => isOurs(node) && (node.inputs?.some(input => !input.widget) || node.widgets?.some(widget => widget.name === 'model'))

/** @param {HTMLElement} element @returns {boolean} Whether it has more words than it shows. */
const isCut = element => element.scrollHeight > element.clientHeight + 1

function addRow(node) {
  const element = styled('div', STYLE)
  element.addEventListener('pointerenter', () => { element.style.cursor = isCut(element) ? 'pointer' : '' })
  element.addEventListener('click', () => {
    if (isCut(element)) app.extensionManager?.toast?.add({ severity: 'info', summary: node.title, detail: element.textContent })
  })
  const row = node.addDOMWidget(ROW, 'DEPTH_NORMAL_WORDS', element, { serialize: false, hideOnZoom: false, margin: 4 })
  row.serialize = false
  // Of this height, however much is free: with a least height it would share that with an image.
  row.computeLayoutSize = undefined
  row.computeSize = () => [0, HEIGHT]
}

const order = widget => widget.name === ROW ? 2 : Number(Boolean(widget.advanced || widget.options?.advanced))

/** Widgets keep their places in `node.widgets`, by which graphs save their values. */
function putAdvancedLast(node) {
  const rows = node.getLayoutWidgets
  if (rows) node.getLayoutWidgets = function () { return rows.call(this).sort((one, other) => order(one) - order(other)) }
}

app.registerExtension({
  name: 'DepthNormal.Rows',
  nodeCreated(node) {
    if (!speaks(node)) return
    addRow(node)
    putAdvancedLast(node)
    const needed = node.computeSize()[1]
    if (node.size[1] < needed) node.setSize([node.size[0], needed])
    const maps = MAPS[node.comfyClass ?? node.constructor?.comfyClass]
    if (maps) node.setSize([Math.max(node.size[0], 350), needed + maps])
  },
})

function say(nodeId, text) {
  const row = rowOf(nodeAt(nodeId))
  if (row) row.element.textContent = row.element.title = text
}

/** @type {string | undefined} */
let running
/** Of a run that was going on when the page was loaded, only its next progress says which prompt it is of. */
const isShown = (prompt = running) => prompt == null || isOfShown(prompt)

api.addEventListener(WORDS, ({ detail: { nodeId, text, prompt_id } }) => { if (isShown(prompt_id)) say(nodeId, text) })
api.addEventListener('progress_state', ({ detail }) => { running = detail.prompt_id })

/** The node that failed in the last run of a graph, by the graph. @type {Map<string | undefined, {nodeId: string, text: string}>} */
const failures = new Map()
const graphOf = prompt => queuedAt(prompt)?.graph

// One that has its old value again does not run: ComfyUI keeps its result.
api.addEventListener('execution_start', ({ detail }) => {
  running = detail?.prompt_id
  const failed = failures.get(graphOf(running))
  if (failed && isShown()) say(failed.nodeId, '')
  failures.delete(graphOf(running))
})

/** Each returns the name and the content of the event in the page's language. */
const TRANSLATED = {
  progress_text(detail) {
    const node = nodeAt(detail.nodeId)
    if (!isOurs(node)) return ['progress_text', detail]
    return [rowOf(node) ? WORDS : 'progress_text', { ...detail, text: translatedLine(detail.text) }]
  },
  execution_error(detail) {
    const type = globalThis.LiteGraph?.registered_node_types[detail.node_type]
    if (!isOurDefinition(type?.nodeData)) return ['execution_error', detail]
    const english = detail.exception_message.trim(), own = translatedMessage(english)
    failures.set(graphOf(detail.prompt_id), { nodeId: String(detail.node_id), text: own ?? english })
    if (isShown(detail.prompt_id)) say(detail.node_id, own ?? english) // the page hides it behind a button
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

/** The page has cleared its words by then, in milliseconds after a run. */
const CLEARED = 200
/** The page's widget for words on a node. */
const PAGES_WORDS = '$$node-text-preview'

/** What stands on nodes, by their ids. @type {Map<string, string>} */
const standing = new Map()

/** @param {boolean} again Whether something has run. */
async function showNotes(again) {
  const { graph } = app.canvas ?? {}
  if (!graph) return
  const runs = await runsOf(graph, again)
  for (const node of graph.nodes) {
    const id = runIds(node)[0], words = wordsOf(node, id, runs).join('; ')
    if (words && !rowOf(node)?.element.textContent.startsWith(words)) api.dispatchCustomEvent('progress_text', { nodeId: id, text: words, prompt_id: null })
    else if (!words && standing.has(id)) remove(node, standing.get(id))
    if (words) standing.set(id, words)
    else standing.delete(id)
  }
}

/** Its notes, or its error; a subgraph has the notes of the nodes in it. */
function wordsOf(node, id, runs) {
  if (node.isSubgraphNode?.()) return Object.keys(runs).filter(each => each.startsWith(`${id}:`)).flatMap(each => runs[each].notes)
  const failed = failures.get(shownPlace().graph)
  if (failed?.nodeId === id) return [failed.text]
  return isOurs(node) && runs[id]?.type === node.type ? runs[id].notes : []
}

/** Removes words that are no longer true. */
function remove(node, words) {
  const row = rowOf(node)
  if (row?.element.textContent.startsWith(words)) row.element.textContent = row.element.title = ''
  const place = (node.widgets ?? []).findIndex(widget => widget.name === PAGES_WORDS && widget.value === words)
  if (place < 0) return
  node.widgets[place].onRemove?.()
  node.widgets.splice(place, 1)
  node.setDirtyCanvas?.(true, true)
}

// Without a node, the prompt has ended. One that runs again may say nothing this time.
api.addEventListener('executing', ({ detail }) => {
  if (detail === null) setTimeout(() => showNotes(true), CLEARED)
  else if (isShown()) say(detail, '')
})

app.registerExtension({
  name: 'DepthNormal.Notes',
  afterConfigureGraph: () => setTimeout(() => showNotes(false), CLEARED),
})
