// The order of the pack's workflows in the template browser. The page shows them as the server's disk lists them, under their files' names.

import { api } from '../../scripts/api.js'

/** First what needs no download, then what downloads a model, then what needs more than that. */
export const ORDER = [
  'Depth and Normals', 'Tiny Preview', 'Relight Live', 'Depth of Field', 'Depth Parallax', 'Stereo 3D', 'Mesh from Photo', 'PBR Textures', 'Large Image',
  'Video Depth', 'Video Normals', 'Compare Models', 'Geometry to Normals and Light', 'Relight',
  'MiDaS Depth and Normal Map', 'Depth Anything V2', 'Depth Anything 3 in Metres', 'ZoeDepth in Metres', 'ControlNet with Normals', 'Marigold Depth and Normals', 'Lotus Depth and Normals', 'LBM Depth and Normals',
]

/** Names in the order above; what is not in it comes last. */
export function inOrder(names) {
  const place = name => (ORDER.indexOf(name) + 1) || ORDER.length + 1
  return [...names].sort((one, other) => place(one) - place(other))
}

const folder = decodeURIComponent(new URL(import.meta.url).pathname.split('/').at(-2))
const getTemplates = api.getWorkflowTemplates

if (getTemplates) {
  api.getWorkflowTemplates = async function (...words) {
    const templates = await getTemplates.apply(this, words)
    return Array.isArray(templates?.[folder]) ? { ...templates, [folder]: inOrder(templates[folder]) } : templates
  }
}
