// The order of the pack's workflows in the template browser, and their words in the page's language.
// The page shows them as the server's disk lists them, under their files' names.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { own, translatedGraph } from './template_texts.mjs'

/** First what needs no download, then what downloads a model, then what needs more than that. */
export const ORDER = [
  'Depth and Normals', 'Tiny Preview', 'Relight Live', 'Depth of Field', 'Depth Parallax', 'Stereo 3D', 'Mesh from Photo', 'Panorama', 'PBR Textures', 'Large Image',
  'Video Depth', 'Video Normals', 'Compare Models', 'Geometry to Normals and Light', 'Relight',
  'MoGe-3 in Metres', 'MiDaS Depth and Normal Map', 'Depth Anything V2', 'Depth Anything 3 in Metres', 'ZoeDepth in Metres', 'ControlNet with Normals', 'Marigold Depth and Normals', 'Material from Photo', 'Lotus Depth and Normals', 'LBM Depth and Normals',
]

/** Names in the order above; what is not in it comes last. */
export function inOrder(names) {
  const place = name => (ORDER.indexOf(name) + 1) || ORDER.length + 1
  return [...names].sort((one, other) => place(one) - place(other))
}

const folder = decodeURIComponent(new URL(import.meta.url).pathname.split('/').at(-2))
const listed = new Set()
const getTemplates = api.getWorkflowTemplates, loadGraph = app.loadGraphData

/** Whether the page shows the workflows by their names in its language. */
let isNamed = false

/** The page has no way for packs to name their templates, which it loads by these names. Where it lists them otherwise, English stays. */
function nameTemplates() {
  const shown = app.extensionManager?._p?._s?.get('workflowTemplates')?.__v_raw?.enhancedTemplates, list = shown?.fn
  if (isNamed || typeof list !== 'function') return
  isNamed = true
  const named = template => ({ ...template, title: own(template.name), searchableText: `${own(template.name)} ${template.searchableText}` })
  shown.fn = (...before) => list(...before).map(template => template.sourceModule === folder ? named(template) : template)
}

if (getTemplates) {
  api.getWorkflowTemplates = async function (...words) {
    const templates = await getTemplates.apply(this, words)
    nameTemplates()
    if (!Array.isArray(templates?.[folder])) return templates
    for (const name of templates[folder]) listed.add(name)
    return { ...templates, [folder]: inOrder(templates[folder]) }
  }
}

if (loadGraph) {
  // Only what is opened as a template: whoever saved a graph keeps its words. A page that does not say so opens it in English.
  app.loadGraphData = function (graph, clean, restore, name, options, ...rest) {
    const ours = options?.openSource === 'template' && listed.has(name)
    return loadGraph.call(this, ours ? translatedGraph(graph) : graph, clean, restore, ours ? own(name) : name, options, ...rest)
  }
}
