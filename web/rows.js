// Rows of this pack's nodes in ComfyUI's page. What Python says stands in a row that is there from the start and stays after the run: core's
// own comes with the first message, makes the node larger, takes half of an image's place and goes with the run. In the classic page, which
// shows advanced widgets too, they stand below the node's image.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import './depth_normal.js' // its images stand above the row
import { styled } from './image_view.js'
import { isOurs, nodeAt } from './own_nodes.js'

/** The event of a message on a node: {nodeId, text}. */
export const WORDS = 'depth_normal_words'
const ROW = '$$depth_normal_words'
/** Two lines. */
const HEIGHT = 30
/** Nodes whose maps core shows after a run, and the height for them. @type {Record<string, number>} */
const MAPS = { DepthNormal_DepthAndNormals: 440, DepthNormal_EstimatePanorama: 440, DepthNormal_SaveTexture: 220 }
const STYLE = 'overflow:hidden;display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2;min-height:28px;font:11px/14px sans-serif;color:var(--input-text,#ddd);overflow-wrap:anywhere;user-select:text'

/** @param {any} node @returns {any} The row's widget; undefined on nodes that say nothing. */
export const rowOf = node => node?.widgets?.find(widget => widget.name === ROW)

/** Nodes that nothing leads into have their output at once, unless they load a model. */
const speaks = node => isOurs(node) && (node.inputs?.some(input => !input.widget) || node.widgets?.some(widget => widget.name === 'model'))

function addRow(node) {
  const element = styled('div', STYLE)
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

api.addEventListener(WORDS, ({ detail: { nodeId, text } }) => {
  const row = rowOf(nodeAt(nodeId))
  if (row) row.element.textContent = row.element.title = text
})
