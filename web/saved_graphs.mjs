// Graphs saved with nodes that have other inputs and outputs today, changed before the page reads them.

const PROCESS = 'VideoDepthAnythingProcess', OUTPUT = 'VideoDepthAnythingOutput'
const SIZE = [270, 60], GAP = 50, TITLE = 30
/** What links in the definition of a subgraph have for a node where they begin or end at the subgraph's own inputs and outputs. */
const SUBGRAPH_INPUTS = -10, SUBGRAPH_OUTPUTS = -20

// A link is an array in a graph, and an object in the definition of a subgraph.
const origin = link => Array.isArray(link) ? [link[1], link[2]] : [link.origin_id, link.origin_slot]
const target = link => Array.isArray(link) ? [link[3], link[4]] : [link.target_id, link.target_slot]
const idOf = link => Array.isArray(link) ? link[0] : link.id
const same = (one, other) => String(one) === String(other)

function setOrigin(link, id, slot) {
  if (Array.isArray(link)) [link[1], link[2]] = [id, slot]
  else Object.assign(link, { origin_id: id, origin_slot: slot })
}

const nodeOf = (graph, id) => graph.nodes.find(node => same(node.id, id))
const linksFrom = (graph, node, slot) => (graph.links ?? []).filter(link => same(origin(link)[0], node.id) && origin(link)[1] === slot)
const linkInto = (graph, node, slot) => (graph.links ?? []).find(link => same(target(link)[0], node.id) && target(link)[1] === slot)

/** Takes a link's id out of the lists that the inputs or outputs of a subgraph have of their links. */
function forget(slots, link) {
  for (const slot of slots ?? []) if (slot?.linkIds) slot.linkIds = slot.linkIds.filter(id => !same(id, idOf(link)))
}

/** Removes a link from the graph, the output that it leaves and the input that it enters. */
function drop(graph, link) {
  graph.links = graph.links.filter(each => each !== link)
  forget(graph.inputs, link)
  forget(graph.outputs, link)
  const [from, output] = origin(link), [to, input] = target(link)
  const source = nodeOf(graph, from)?.outputs?.[output], entered = nodeOf(graph, to)?.inputs?.[input]
  if (source?.links) source.links = source.links.filter(id => !same(id, idOf(link)))
  if (entered && same(entered.link, idOf(link))) entered.link = null
}

/** Moves the beginning of a link to an output of another node, or to an input of the subgraph. */
function rewire(graph, link, { id, outputs }, slot) {
  const [from, output] = origin(link), left = nodeOf(graph, from)?.outputs?.[output]
  if (left?.links) left.links = left.links.filter(id => !same(id, idOf(link)))
  setOrigin(link, id, slot)
  const entered = outputs?.[slot]
  if (entered) entered.links = [...(entered.links ?? []), idOf(link)]
  const input = same(id, SUBGRAPH_INPUTS) ? graph.inputs?.[slot] : undefined
  if (input) input.linkIds = [...(input.linkIds ?? []), idOf(link)]
}

/** Removes an input and its link; the links of the inputs after it move up. */
function removeInput(graph, node, slot) {
  const link = linkInto(graph, node, slot)
  if (link) drop(graph, link)
  node.inputs.splice(slot, 1)
  for (const each of graph.links ?? []) {
    if (!same(target(each)[0], node.id) || target(each)[1] < slot) continue
    if (Array.isArray(each)) each[4] -= 1
    else each.target_slot -= 1
  }
}

function nextIds(graph) {
  const highest = (...ids) => Math.max(0, ...ids.map(Number).filter(Number.isFinite)) + 1
  const node = highest(graph.last_node_id, graph.state?.lastNodeId, ...graph.nodes.map(each => each.id))
  const link = highest(graph.last_link_id, graph.state?.lastLinkId, ...(graph.links ?? []).map(idOf))
  if (graph.state) Object.assign(graph.state, { lastNodeId: node, lastLinkId: link })
  if ('last_node_id' in graph) Object.assign(graph, { last_node_id: node, last_link_id: link })
  return [node, link]
}

/** A position for a new node beside another one: the first that no node covers, else at its right. */
function freePlace(graph, node) {
  const pair = value => [value[0], value[1]] // old graphs have them as objects with the keys 0 and 1
  const box = ({ pos, size }) => [...pair(pos ?? [0, 0]), ...pair(size ?? [SIZE[0], 100])]
  const [x, y, wide, high] = box(node), places = [[x + wide + GAP, y], [x, y + high + TITLE + GAP], [x, y - SIZE[1] - TITLE - GAP]]
  const isFree = ([left, top]) => graph.nodes.every(each => {
    const [x, y, wide, high] = box(each)
    return left >= x + wide || left + SIZE[0] <= x || top - TITLE >= y + high || top + SIZE[1] <= y - TITLE
  })
  return places.find(isFree) ?? places[0]
}

/**
 * Splits the first version of Video Depth Anything Process, which gave images and their rate.
 *
 * Its widgets were [target_fps, input_size, max_res, colormap]. Today it gives depth, which a node of its own shows.
 * The rate was passed on unchanged, so what took it takes it from where it came.
 */
function split(graph, node) {
  const [, inputSize, maxRes, colours] = Array.isArray(node.widgets_values) ? node.widgets_values : []
  const images = linksFrom(graph, node, 0), rates = linksFrom(graph, node, 1)
  const slot = (node.inputs ?? []).findIndex(input => input.name === 'target_fps')
  const rate = slot < 0 ? undefined : linkInto(graph, node, slot)
  const [from, output] = rate ? origin(rate) : []
  const source = rate && (same(from, SUBGRAPH_INPUTS) ? { id: from } : nodeOf(graph, from))
  for (const link of rates) {
    // The page knows no link from a subgraph's input to its output.
    if (source && (source.outputs || !same(target(link)[0], SUBGRAPH_OUTPUTS))) rewire(graph, link, source, output)
    else drop(graph, link)
  }
  if (slot >= 0) removeInput(graph, node, slot)
  const [id, link] = nextIds(graph)
  const shown = {
    id, type: OUTPUT, pos: freePlace(graph, node), size: [...SIZE], flags: {}, order: node.order ?? 0, mode: node.mode ?? 0,
    inputs: [{ name: 'depths', type: 'DEPTHS', link }], outputs: [{ name: 'images', type: 'IMAGE', links: [] }],
    properties: {}, widgets_values: [['inferno', 'gray'].includes(colours) ? colours : 'gray'],
  }
  graph.nodes.push(shown)
  for (const each of images) rewire(graph, each, shown, 0)
  graph.links = [...(graph.links ?? []), Array.isArray(graph.links?.[0] ?? [])
    ? [link, node.id, 0, id, 0, 'DEPTHS']
    : { id: link, origin_id: node.id, origin_slot: 0, target_id: id, target_slot: 0, type: 'DEPTHS' }]
  node.outputs = [{ name: 'depths', type: 'DEPTHS', links: [link] }]
  node.widgets_values = [inputSize, maxRes].filter(value => typeof value === 'number')
}

/** A group node saves the values of all nodes in it in one list, where nodes that have more widgets by now would take the next node's. */
function fillGroups({ extra, nodes }, valuesOf) {
  for (const node of Array.isArray(nodes) ? nodes : []) {
    const inside = extra?.groupNodes?.[node?.type?.match?.(/^workflow[>/](.+)/)?.[1]]?.nodes
    if (!Array.isArray(inside) || inside.some(each => !Array.isArray(each?.widgets_values ?? []))) continue
    const counts = inside.map(each => each?.widgets_values?.length ?? 0), saved = node.widgets_values
    if (counts.reduce((sum, count) => sum + count, 0) !== saved?.length) continue
    let start = 0
    node.widgets_values = inside.flatMap((each, i) => {
      const added = i < inside.length - 1 && each ? valuesOf(each.type).slice(counts[i]) : []
      return [...saved.slice(start, start += counts[i]), ...added]
    })
  }
}

/**
 * Changes a saved graph, or the definition of a subgraph, for the nodes of today.
 *
 * `outputsOf` gives the number of outputs of this pack's nodes by type; undefined for the nodes of others. `valuesOf` gives the values of
 * their widgets when they are new; none for the nodes of others.
 */
export function mendGraph(graph, outputsOf, valuesOf) {
  // Damaged graphs have null for lost links; the page reads them.
  if (graph?.links?.includes?.(null)) graph.links = graph.links.filter(Boolean)
  if (graph) fillGroups(graph, valuesOf)
  for (const node of Array.isArray(graph?.nodes) ? [...graph.nodes] : []) {
    const count = outputsOf(node?.type)
    if (count === undefined) continue
    if (node.type === PROCESS && node.outputs?.[0]?.type === 'IMAGE') split(graph, node)
    for (let slot = count; slot < (node.outputs?.length ?? 0); slot++) linksFrom(graph, node, slot).forEach(link => drop(graph, link))
    node.outputs?.splice(count)
  }
}
