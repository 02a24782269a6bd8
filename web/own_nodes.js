// Which nodes of the page are this pack's.

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
