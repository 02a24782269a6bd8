// Which of this pack's nodes is found first. The page ranks by names and by how often a node is used, so the one node that gives all maps
// would stand behind those that have a search word in their names.

/** It gives depth, normals, mask and geometry. */
const FIRST = 'DepthNormal_DepthAndNormals'
/** What people type who want depth or normals. */
const QUERIES = new Set(['depth', 'depth map', 'z depth', 'controlnet depth', 'normal', 'normals', 'normal map', 'controlnet normal'])

/** @param {any} query As typed. @returns {string | undefined} Id of the node that is found first; undefined where the page's order stays. */
export function wantedBy(query) {
  return QUERIES.has(wordsOf(query)) ? FIRST : undefined
}

const wordsOf = query => String(query ?? '').trim().toLowerCase().replace(/\s+/g, ' ')

/**
 * Moves the wanted node to the front, behind nodes that are called exactly what was typed. Others keep their order.
 * @template {{name: string, display_name?: string}} T
 * @param {T[]} found By the page's search, best first.
 * @param {string} query
 * @returns {T[]} The same, if the wanted node is not among them.
 */
export function inOrder(found, query) {
  const words = wordsOf(query), id = wantedBy(query), wanted = found.find(({ name }) => name === id)
  if (!wanted) return found
  const exact = found.filter(node => node !== wanted && [node.name, node.display_name].some(name => name?.toLowerCase() === words))
  return [...exact, wanted, ...found.filter(node => node !== wanted && !exact.includes(node))]
}
