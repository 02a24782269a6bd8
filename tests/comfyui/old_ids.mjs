// Opens graphs of before this pack had ids and a socket type of its own in ComfyUI's page, searches, and prints as JSON what was seen:
//   PW=.../playwright-core/index.mjs node old_ids.mjs SERVER NODES2 SHOTS WORKFLOW.json...
// NODES2 is "true" for Nodes 2.0; SHOTS is a folder for screenshots, or "".
import fs from 'node:fs'
import path from 'node:path'

const [server, nodes2, shots, ...files] = process.argv.slice(2)
const { chromium } = await import(process.env.PW)
const settings = {
  'Comfy.TutorialCompleted': true, 'Comfy.InstalledVersion': '99.0.0', 'Comfy.Release.Status': 'skip', 'Comfy.Locale': 'en',
  'Comfy.VueNodes.Enabled': nodes2 === 'true',
}
await fetch(server + '/settings', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(settings) })

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] })
const page = await browser.newPage({ viewport: { width: 1500, height: 950 } })
page.setDefaultTimeout(60000)
const report = { graphs: {}, search: {}, colours: {} }

await page.goto(server, { waitUntil: 'domcontentloaded' })
await page.waitForFunction(() => 'DepthNormal_Relight' in (window.LiteGraph?.registered_node_types ?? {}) && window.app?.graph?.nodes.length)

for (const file of files) {
  const workflow = JSON.parse(fs.readFileSync(file, 'utf8')), name = path.parse(file).name
  await page.evaluate(workflow => { window.app.graph.clear(); return window.app.loadGraphData(workflow) }, workflow)
  await page.waitForFunction(count => window.app.graph.nodes.length === count, workflow.nodes.length)
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
report.visible = await page.evaluate(() => window.app.extensionManager._p._s.get('nodeDef').visibleNodeDefs.map(node => node.name))
await browser.close()
console.log(JSON.stringify(report))
