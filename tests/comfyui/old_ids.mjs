// Opens graphs of before this pack had ids and a socket type of its own in ComfyUI's page, searches, and prints as JSON what was seen:
//   PW=.../playwright-core/index.mjs node old_ids.mjs SERVER SHOTS WORKFLOW.json...
// SHOTS is a folder for screenshots, or "".
import fs from 'node:fs'
import path from 'node:path'
import { load, openPage, start } from './page.mjs'

const [server, shots, ...files] = process.argv.slice(2)
const { browser, page } = await openPage(server, {
  'Comfy.VueNodes.Enabled': false,
}, { timeout: 60000 })
const report = { graphs: {}, search: {}, colours: {} }

await start(page, server)

for (const file of files) {
  const workflow = JSON.parse(fs.readFileSync(file, 'utf8')), name = path.parse(file).name
  await load(page, workflow)
  report.graphs[name] = await page.evaluate(async () => ({
    unknown: window.app.graph.nodes.filter(node => !(node.type in window.LiteGraph.registered_node_types)).map(node => node.type),
    deprecated: window.app.graph.nodes.filter(node => node.constructor.nodeData?.deprecated).map(node => node.type),
    types: window.app.graph.nodes.flatMap(node => [...(node.inputs ?? []), ...(node.outputs ?? [])].map(slot => slot.type)),
    links: window.app.graph.links.size,
    prompt: (await window.app.graphToPrompt()).output,
  }))
  report.graphs[name].dialogs = (await page.locator('[role=dialog], .p-dialog, .p-toast-message').allInnerTexts()).filter(Boolean)
  if (shots) await page.screenshot({ path: path.join(shots, `${name}.png`) })
}

const colours = () => page.evaluate(() => Object.fromEntries(['DEPTH_NORMAL_GEOMETRY', 'DEPTH_NORMAL_MODEL', 'DEPTH_NORMAL_LIGHTS'].map(type => [type, [
  window.app.canvas.default_connection_color_byType[type],
  window.app.canvas.constructor.link_type_colors[type],
  getComputedStyle(document.documentElement).getPropertyValue(`--color-datatype-${type}`).trim(),
]])))
report.colours.first = await colours()
const choose = palette => page.evaluate(palette => window.app.extensionManager.setting.set('Comfy.ColorPalette', palette), palette)
await choose('light')
await page.waitForFunction(() => !document.body.classList.contains('dark-theme'))
report.colours.light = await colours()
await choose('dark')

for (const words of ['MiDaS Depth Map', 'BAE-NormalMapPreprocessor', 'Video Depth Anything Process']) {
  report.search[words] = await page.evaluate(words => {
    const store = window.app.extensionManager._p._s.get('nodeDef')
    return store.nodeSearchService.searchNode(words, []).map(node => node.name)
  }, words)
}
// Video Depth Anything's first version: images and their rate out of one node.
report.video = await page.evaluate(async before => {
  window.app.graph.clear()
  await window.app.loadGraphData(before)
  return { types: window.app.graph.nodes.map(node => node.type).sort(), prompt: (await window.app.graphToPrompt()).output }
}, {
  last_node_id: 6, last_link_id: 6, version: 0.4, groups: [], config: {}, extra: {},
  nodes: [
    { id: 1, type: 'EmptyImage', pos: [0, 0], inputs: [], outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [1] }], widgets_values: [64, 64, 2, 0] },
    { id: 2, type: 'LoadVideoDepthAnythingModel', pos: [0, 300], inputs: [], outputs: [{ name: 'vda_model', type: 'VDAMODEL', links: [2] }], widgets_values: ['video_depth_anything_vitl.pth'] },
    { id: 3, type: 'PrimitiveFloat', pos: [0, 500], inputs: [], outputs: [{ name: 'FLOAT', type: 'FLOAT', links: [3] }], widgets_values: [12.5] },
    {
      id: 4, type: 'VideoDepthAnythingProcess', pos: [300, 0], size: [300, 150], widgets_values: [15, 392, 960, 'inferno'],
      inputs: [{ name: 'vda_model', type: 'VDAMODEL', link: 2 }, { name: 'images', type: 'IMAGE', link: 1 }, { name: 'target_fps', type: 'FLOAT', link: 3, widget: { name: 'target_fps' } }],
      outputs: [{ name: 'image', type: 'IMAGE', links: [4] }, { name: 'fps', type: 'FLOAT', links: [5] }],
    },
    {
      id: 5, type: 'CreateVideo', pos: [700, 0], widgets_values: [30],
      inputs: [{ name: 'images', type: 'IMAGE', link: 4 }, { name: 'fps', type: 'FLOAT', link: 5, widget: { name: 'fps' } }],
      outputs: [{ name: 'VIDEO', type: 'VIDEO', links: [6] }],
    },
    { id: 6, type: 'SaveVideo', pos: [1000, 0], widgets_values: ['video/x', 'auto', 'auto'], inputs: [{ name: 'video', type: 'VIDEO', link: 6 }], outputs: [] },
  ],
  links: [[1, 1, 0, 4, 1, 'IMAGE'], [2, 2, 0, 4, 0, 'VDAMODEL'], [3, 3, 0, 4, 2, 'FLOAT'], [4, 4, 0, 5, 0, 'IMAGE'], [5, 4, 1, 5, 1, 'FLOAT'], [6, 5, 0, 6, 0, 'VIDEO']],
})
// As if another pack served the old id: its node's menu offers ours.
const exchange = (nodes2, inSubgraph) => page.evaluate(async ([nodes2, inSubgraph, saved]) => {
  await window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', nodes2)
  const { graph: root } = window.app
  root.clear()
  await window.app.loadGraphData(saved)
  const host = inSubgraph ? root.convertToSubgraph(new Set([root.getNodeById(2)])).node : null, graph = host?.subgraph ?? root
  const old = graph.nodes.find(each => each.type === 'MiDaS-NormalMapPreprocessor')
  root.remove(root.getNodeById(4)) // of the subgraph its input stays, with a widget
  if (host) host.widgets[0].value = 512
  const items = () => window.app.collectNodeMenuItems(old).filter(item => item?.content?.includes('Depth & Normals'))
  const own = items().length
  old.widgets = old.widgets.filter(each => each.name !== 'model') // which the other pack's node lacks
  Object.assign(old, { color: '#322', bgcolor: '#533', shape: 1, mode: 4, showAdvanced: true })
  old.setSize([640, 480])
  old.collapse()
  old.pin()
  const looks = ({ color, bgcolor, shape, mode, size, flags: { collapsed, pinned }, resizable, showAdvanced }) =>
    JSON.stringify([color, bgcolor, shape, mode, [...size], collapsed, pinned, resizable, showAdvanced])
  const before = looks(old), data = old.constructor.nodeData, here = data.python_module
  data.python_module = 'custom_nodes.other'
  items()[0].callback()
  data.python_module = here
  const fresh = graph.nodes.find(each => each.type === 'DepthNormal_MiDaSNormalMap'), { title } = fresh, looksOf = [before, looks(fresh)]
  fresh.mode = 0
  return { own, title, looksOf, prompt: (await window.app.graphToPrompt()).output }
}, [nodes2, inSubgraph, {
  nodes: [
    { id: 1, type: 'EmptyImage', pos: [0, 0], inputs: [], outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [1] }], widgets_values: [64, 64, 1, 0] },
    {
      id: 2, type: 'MiDaS-NormalMapPreprocessor', title: 'My map', pos: [300, 0], widgets_values: [3, 0.25, 768],
      inputs: [{ name: 'image', type: 'IMAGE', link: 1 }, { name: 'resolution', type: 'INT', link: 3, widget: { name: 'resolution' } }],
      outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [2] }],
    },
    { id: 3, type: 'PreviewImage', pos: [600, 0], inputs: [{ name: 'images', type: 'IMAGE', link: 2 }], outputs: [] },
    { id: 4, type: 'PrimitiveInt', pos: [0, 300], inputs: [], outputs: [{ name: 'INT', type: 'INT', links: [3] }], widgets_values: [640] },
  ],
  links: [[1, 1, 0, 2, 0, 'IMAGE'], [2, 2, 0, 3, 0, 'IMAGE'], [3, 4, 0, 2, 1, 'INT']],
  version: 0.4,
}])
report.exchanged = [await exchange(false, false), await exchange(false, true), await exchange(true, false), await exchange(true, true)]
report.visible = await page.evaluate(() => window.app.extensionManager._p._s.get('nodeDef').visibleNodeDefs.map(node => node.name))
report.menu = await page.evaluate(() => Object.entries(window.LiteGraph.registered_node_types).filter(([, type]) => !type.skip_list).map(([id]) => id))
await browser.close()
console.log(JSON.stringify(report))
