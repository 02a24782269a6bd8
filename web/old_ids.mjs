// Some nodes have two ids: the one by which other packs' graphs know them, and the pack's own. Only search shows them, under the own one;
// nothing on the nodes of an old graph says that they are old, for they are not. Where another pack has the old id, its node's
// menu offers ours.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { allNodes, isOurDefinition, isOurs, noteDefinition } from './nodes.mjs'
import { mendGraph } from './saved_graphs.mjs'
import { translated } from './words.mjs'

/** Option of a widget: its value where the old node has no such widget. */
const AS_BEFORE = 'depth_normal_as_before'

/** What a user sets of a node by hand. */
const BY_HAND = ['mode', 'color', 'bgcolor', 'shape', 'resizable', 'showAdvanced']

/** The new node, which has the old one's place, looks, links and, by name, its widgets' values. The old one is gone. */
function exchange(old, type) {
  const { graph, title } = old, fresh = window.LiteGraph.createNode(type)
  const link = id => graph.links.get(id) ?? {}
  const sources = (old.inputs ?? []).map(({ name, link: id }) => ({ name, ...link(id) }))
  const targets = (old.outputs ?? []).flatMap(({ links }, output) => (links ?? []).map(id => ({ output, ...link(id) })))
  // A subgraph's nodes show some of its widgets, and lose the values with the links.
  const hosts = allNodes().filter(each => each.subgraph === graph)
  const shown = hosts.map(host => (host.widgets ?? []).map(({ name, value }) => ({ name, value })))
  graph.beforeChange()
  graph.remove(old)
  fresh.pos = [...old.pos]
  for (const name of BY_HAND) if (old[name] !== undefined) fresh[name] = old[name]
  Object.assign(fresh.flags, old.flags)
  if (title !== old.constructor.title) fresh.title = title
  graph.add(fresh)
  fresh.setSize(fresh.size.map((least, side) => Math.max(least, old.size[side])))
  const inputs = fresh.constructor.nodeData.input.optional ?? {}
  for (const widget of fresh.widgets ?? []) {
    const same = old.widgets?.find(each => each.name === widget.name)
    const value = same ? same.value : inputs[widget.name]?.[1]?.[AS_BEFORE]
    if (value !== undefined) widget.value = value
  }
  // Where no node is at the other end of a link, it is an input or output of the subgraph.
  for (const { name, origin_id: id, origin_slot: slot } of sources) {
    const input = fresh.findInputSlot(name), node = graph.getNodeById(id)
    if (input < 0) continue
    if (node) node.connect(slot, fresh, input)
    else graph.inputs?.[slot]?.connect(fresh.inputs[input], fresh)
  }
  for (const { output, target_id: id, target_slot: slot } of targets) {
    const node = graph.getNodeById(id), from = fresh.outputs[output]
    if (!from) continue
    if (node) fresh.connect(output, node, slot)
    else graph.outputs?.[slot]?.connect(from, fresh)
  }
  hosts.forEach((host, at) => {
    for (const widget of host.widgets ?? []) widget.value = shown[at].find(each => each.name === widget.name)?.value ?? widget.value
  })
  graph.afterChange()
  return fresh
}

const OWN = 'DepthNormal_'
/** It has no other id. */
const WITHOUT_TWIN = new Set(['AIO_Preprocessor'])
/** What the server offers in the place of which id. */
let offered = {}
/** Ids that the search finds and no menu lists: the pack's own ids of nodes that other packs have too. @type {Set<string>} */
export const onlyInSearch = new Set()

/** Inputs that earlier versions of this pack called otherwise. */
const OWN_INPUTS = { DepthNormal_LBMNormals: { depth: 'geometry' } }

/** The number of outputs of this pack's node of a type; undefined where there is none, or another pack has it. */
function outputsOf(type) {
  const { nodeData } = window.LiteGraph.registered_node_types[type] ?? {}
  return isOurDefinition(nodeData) ? nodeData.output.length : undefined
}

/** @param {string} type @returns {any[]} What a graph saves of a new node of this pack. */
function valuesOf(type) {
  if (outputsOf(type) === undefined) return []
  return (window.LiteGraph.createNode(type).widgets ?? []).filter(widget => widget.serialize !== false).map(widget => widget.value)
}

const isOldId = node => isOurDefinition(node) && !node.name.startsWith(OWN) && !WITHOUT_TWIN.has(node.name)

app.registerExtension({
  name: 'DepthNormal.OldIds',
  settings: [{
    id: 'DepthNormal.OldIds',
    category: ['Depth & Normals', 'Graphs of other packs', 'Old ids'],
    name: 'Serve the node ids of comfyui_controlnet_aux, ComfyUI-Video-Depth-Anything and ComfyUI-DepthAnythingV2',
    tooltip: 'Off: those packs keep these ids. The nodes of this pack are available under ids of their own either way. Takes effect when ComfyUI starts again.',
    type: 'boolean',
    defaultValue: true,
  }],
  beforeRegisterNodeDef(_type, node) {
    noteDefinition(node)
  },
  beforeConfigureGraph(graph) {
    const graphs = [graph, ...(graph?.definitions?.subgraphs ?? [])]
    for (const each of graphs) mendGraph(each, outputsOf, valuesOf)
    for (const { type, inputs } of graphs.flatMap(each => each?.nodes ?? [])) {
      for (const input of inputs ?? []) input.name = OWN_INPUTS[type]?.[input.name] ?? input.name
    }
  },
  getNodeMenuItems(node) {
    const own = offered[node.comfyClass]?.map(each => each.new_node_id).find(id => id.startsWith(OWN))
    if (!own || isOurs(node)) return []
    return [{ content: translated('Replace by the node of Depth & Normals'), callback: () => exchange(node, own) }]
  },
  async setup() {
    const answer = await api.fetchApi('/node_replacements').catch(() => null)
    if (answer?.ok) offered = await answer.json()
    for (const { new_node_id: id } of Object.values(offered).flat()) if (id.startsWith(OWN)) onlyInSearch.add(id)
    const isInMenus = node => !isOldId(node) && !onlyInSearch.has(node.name)
    // The canvas's menu of nodes lists deprecated ones too.
    for (const type of Object.values(window.LiteGraph.registered_node_types)) {
      if (isOurDefinition(type.nodeData) && (type.nodeData.deprecated || !isInMenus(type.nodeData))) type.skip_list = true
    }
    // The page has no way for packs to hide a node that is not deprecated: without this store, search shows both ids.
    const store = app.extensionManager?._p?._s?.get('nodeDef')
    store?.registerNodeDefFilter?.({
      id: 'DepthNormal.OldIds',
      name: 'Hide the old ids of Depth & Normals',
      description: 'Nodes that other packs have too; the search finds them by the ids of Depth & Normals',
      predicate: isInMenus,
    })
  },
})
