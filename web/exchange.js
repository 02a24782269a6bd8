// Puts a node in the place of another one with inputs and outputs of the same names.

/** The new node, which has the old one's place, title, mode, links and, by name, its widgets' values. The old one is gone. */
export function exchange(old, type) {
  const { graph, title } = old, fresh = window.LiteGraph.createNode(type)
  const link = id => graph.links.get(id) ?? []
  const sources = (old.inputs ?? []).map(({ name, link: id }) => ({ name, node: graph.getNodeById(link(id).origin_id), slot: link(id).origin_slot }))
  const targets = (old.outputs ?? []).flatMap(({ links }, output) => (links ?? []).map(id => (
    { output, node: graph.getNodeById(link(id).target_id), slot: link(id).target_slot }
  )))
  graph.beforeChange()
  graph.remove(old)
  fresh.pos = [...old.pos]
  fresh.mode = old.mode
  if (title !== old.constructor.title) fresh.title = title
  graph.add(fresh)
  for (const { name, value } of old.widgets ?? []) {
    const same = fresh.widgets?.find(widget => widget.name === name)
    if (same) same.value = value
  }
  for (const { name, node, slot } of sources) {
    const input = fresh.findInputSlot(name)
    if (input >= 0) node?.connect(slot, fresh, input)
  }
  for (const { output, node, slot } of targets) if (node && fresh.outputs[output]) fresh.connect(output, node, slot)
  graph.afterChange()
  return fresh
}
