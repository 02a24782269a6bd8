// Where this pack's nodes stand among what the page's search finds. It ranks by names and by how often a node is used, so the one node that
// gives all maps would stand behind those that have a search word in their names, and a new pack's behind core's dozens of mask nodes.

/** What people type, the node that they look for, and how many others may stand before it. @type {[string[], string, number][]} */
const WANTED = [
  [['depth', 'depth map', 'z depth', 'controlnet depth', 'normal', 'normals', 'normal map', 'controlnet normal'], 'DepthNormal_DepthAndNormals', 0],
  [['video depth', 'depth video'], 'DepthNormal_DepthOfVideo', 0],
  [['video normals', 'normal video'], 'DepthNormal_NormalsOfVideo', 0],
  [['sky'], 'DepthNormal_SkyMask', 0],
  [['mask', 'segment', 'segmentation'], 'DepthNormal_DepthMask', 3],
]

const wordsOf = query => String(query ?? '').trim().toLowerCase().replace(/\s+/g, ' ')
const entryOf = query => WANTED.find(([words]) => words.includes(wordsOf(query)))

/** @param {any} query As typed. @returns {string | undefined} Id of the node that is moved to the front; undefined where the page's order stays. */
export const wantedBy = query => entryOf(query)?.[1]

/**
 * Moves the wanted node to its place, behind nodes that are called exactly what was typed. Others keep their order.
 * @template {{name: string, display_name?: string}} T
 * @param {T[]} found By the page's search, best first.
 * @param {string} query
 * @returns {T[]} The same, if the wanted node is not among them.
 */
export function inOrder(found, query) {
  const words = wordsOf(query), [, id, before] = entryOf(query) ?? [], wanted = found.find(({ name }) => name === id)
  if (!wanted || found.indexOf(wanted) <= before && before) return found
  const exact = found.filter(node => node !== wanted && [node.name, node.display_name].some(name => name?.toLowerCase() === words))
  const others = found.filter(node => node !== wanted && !exact.includes(node))
  return [...exact, ...others.slice(0, before), wanted, ...others.slice(before)]
}
