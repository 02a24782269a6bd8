// Where this pack's nodes stand among what the page's search finds. It ranks by names and by how often a node is used, so the one node that
// gives all maps would stand behind those that have a search word in their names, and a new pack's behind core's dozens of mask nodes.

/** What people type in any language, the node that they look for, and how many others may stand before it. @type {[string, string, number][]} */
const WANTED = [
  [`depth, depth map, z depth, depth estimation, monocular depth, controlnet depth, normal, normals, normal map, surface normals, controlnet normal,
    深度, 深度图, 深度圖, 深度贴图, 深度估计, 单目深度, 法线, 法线图, 法线贴图, 法線貼圖, 法线估计, 表面法线,
    デプス, デプスマップ, 深度マップ, 深度推定, 単眼深度, 単眼深度推定, 奥行き, ノーマル, ノーマルマップ, 法線, 法線マップ, 法線推定`, 'DepthNormal_DepthAndNormals', 0],
  ['moge, tiny', 'DepthNormal_DepthAndNormals', 2],
  ['depth anything v2', 'DepthNormal_DepthAnythingV2', 0],
  ['video depth, depth video, 视频深度, 深度视频, 動画の深度, ビデオ深度', 'DepthNormal_DepthOfVideo', 0],
  ['video normals, normal video, 视频法线, 法线视频, 動画の法線', 'DepthNormal_NormalsOfVideo', 0],
  ['sky, 天空, 空', 'DepthNormal_SkyMask', 0],
  ['mask, segment, segmentation, 遮罩, 蒙版, 分割, マスク, セグメンテーション', 'DepthNormal_DepthMask', 3],
  ['vr, 3d video, 立体, 立体視', 'DepthNormal_Stereo', 2],
  ['3d print, 3d printing, 3d打印, 3dプリント', 'DepthNormal_SaveRelief', 2],
  ['exr, save exr', 'DepthNormal_SaveGeometry', 2],
]

const wordsOf = query => String(query ?? '').trim().toLowerCase().replace(/\s+/g, ' ')
const entryOf = query => WANTED.find(([words]) => words.split(/,\s+/).includes(wordsOf(query)))

/** @param {any} query As typed. @returns {string | undefined} Id of the node that is moved to the front; undefined where the page's order stays. */
export const wantedBy = query => entryOf(query)?.[1]

/**
 * Moves the wanted node to its place, behind other packs' nodes that are called exactly what was typed. Others keep their order.
 * @template {{name: string, display_name?: string}} T
 * @param {T[]} found By the page's search, best first.
 * @param {string} query
 * @returns {T[]} The same, if the wanted node is not among them.
 */
export function inOrder(found, query) {
  const words = wordsOf(query), [, id, before] = entryOf(query) ?? [], wanted = found.find(({ name }) => name === id)
  if (!wanted || found.indexOf(wanted) <= before && before) return found
  const exact = found.filter(node => !node.name.startsWith('DepthNormal_') && [node.name, node.display_name].some(name => name?.toLowerCase() === words))
  const others = found.filter(node => node !== wanted && !exact.includes(node))
  return [...exact, ...others.slice(0, before), wanted, ...others.slice(before)]
}
