// What the page shows in another language that ComfyUI's locales have no place for, as JSON:
//   PW=.../playwright-core/index.mjs node languages.mjs SERVER PACK LOCALE NODES2 SHOTS
// NODES2 is "true" for Nodes 2.0; SHOTS is a folder for screenshots, or empty.
import fs from 'node:fs'
import path from 'node:path'
import { lists, openList, openPage, run as runGraph, set, start } from './page.mjs'

const [server, pack, locale, nodes2, shots] = process.argv.slice(2)
const { browser, page, errors } = await openPage(server, { 'Comfy.Locale': locale, 'Comfy.VueNodes.Enabled': nodes2 === 'true' })
const report = { errors }
const shoot = name => shots && page.screenshot({ path: path.join(shots, `${name}_${locale}_${nodes2 === 'true' ? 'nodes2' : 'canvas'}.png`) })
const press = place => place.evaluate(element => element.click())

await start(page, server, 'DepthNormal_LoadModel')

// Lists: every label, and what the graph keeps.
report.labels = await page.evaluate(() => {
  const found = {}
  for (const type of Object.keys(window.LiteGraph.registered_node_types)) {
    if (!type.startsWith('DepthNormal_') && type !== 'KSampler') continue
    const node = window.LiteGraph.createNode(type)
    found[type] = Object.fromEntries((node.widgets ?? []).filter(widget => widget.type === 'combo' && Array.isArray(widget.options.values))
      .map(widget => [widget.name, Object.fromEntries(widget.options.values.map(value => [value, widget.options.getOptionLabel?.(value) ?? null]))]))
  }
  return found
})
await page.evaluate(() => {
  window.app.graph.clear()
  window.add('DepthNormal_RenderDepth', 60, 60)
  window.app.canvas.ds.reset()
})
const widget = name => page.evaluate(name => window.app.graph.nodes[0].widgets.find(each => each.name === name).value, name)
report.before = await widget('normalisation')
if (nodes2 === 'true') await lists(page).nth(1).waitFor()
report.closed = nodes2 === 'true'
  ? (await lists(page).allInnerTexts()).join('\n')
  : await page.evaluate(() => window.app.graph.nodes[0].widgets.map(each => each._displayValue).join('\n'))
const running = report.labels.DepthNormal_RenderDepth.normalisation.running ?? 'running'
const shown = page.getByText(running, { exact: true }).last()
// A canvas that is not yet drawn takes no click.
for (let tries = 0; tries < 20 && !await shown.isVisible(); tries++) {
  await openList(page, nodes2, 1)
  await shown.waitFor({ timeout: 3000 }).catch(() => {})
}
await shoot('list')
await shown.click()
await page.waitForFunction(() => window.app.graph.nodes[0].widgets.find(each => each.name === 'normalisation').value === 'running')
report.saved = await page.evaluate(() => window.app.graph.serialize().nodes[0].widgets_values)
report.prompt = await page.evaluate(async () => Object.values((await window.app.graphToPrompt()).output)[0].inputs.normalisation)
await shoot('chosen')

// A template, opened from the browser; the same graph opened as a file keeps its words.
const words = () => page.evaluate(() => window.app.graph.nodes.map(node => ({
  type: node.type, title: node.title, note: /Note/.test(node.type) ? node.widgets[0].value : null,
})))
const dialog = page.locator('[role=dialog], .p-dialog')
await page.evaluate(() => { window.app.graph.clear(); return window.app.extensionManager.command.execute('Comfy.BrowseTemplates') })
await press(dialog.getByText(pack).first())
await shoot('templates')
const table = new URL(`../../web/languages/${locale}.json`, import.meta.url)
const tiny = fs.existsSync(table) ? JSON.parse(fs.readFileSync(table, 'utf8')).notes['Tiny Preview'] : 'Tiny Preview'
await press(dialog.getByText(tiny, { exact: true }).first())
await dialog.waitFor({ state: 'hidden' })
report.templates = await page.evaluate(pack => window.app.extensionManager._p._s.get('workflowTemplates').enhancedTemplates
  .filter(template => template.sourceModule === pack).map(({ name, title, searchableText }) => [name, title, searchableText]), pack)
await page.waitForFunction(() => window.app.graph.nodes.some(node => /Note/.test(node.type)))
report.template = await words()
await shoot('template')
await page.evaluate(async pack => {
  const graph = await (await fetch(`/api/workflow_templates/${pack}/Tiny%20Preview.json`)).json()
  await window.app.loadGraphData(graph, true, true, 'Tiny Preview')
}, pack)
report.file = await words()

// Messages: while a node runs, and when it fails.
await page.evaluate(() => {
  window.said = []
  window.app.api.addEventListener('depth_normal_words', ({ detail }) => window.said.push(detail.text))
  window.app.graph.clear()
  const [image, model, geometry, render, show] = ['EmptyImage', 'DepthNormal_LoadModel', 'DepthNormal_EstimateGeometry', 'DepthNormal_RenderNormals', 'PreviewImage']
    .map((type, place) => window.add(type, 20 + 300 * place, 60))
  const value = (node, name, value) => { node.widgets.find(each => each.name === name).value = value }
  value(image, 'color', Math.floor(Math.random() * 0xffffff)) // a result that the server has already comes without words
  value(model, 'model', 'tiny')
  value(geometry, 'normals', 'model only')
  model.connect(0, geometry, window.input(geometry, 'model'))
  image.connect(0, geometry, window.input(geometry, 'image'))
  geometry.connect(0, render, 0)
  render.connect(0, show, 0)
  window.estimate = geometry
  window.app.canvas.ds.reset()
})
const run = async () => {
  const ended = await runGraph(page)
  return { ended, said: await page.evaluate(() => window.said) }
}
report.run = await run()
await page.evaluate(() => {
  const set = (name, value) => { window.estimate.widgets.find(each => each.name === name).value = value }
  set('tiles', 'auto')
  set('film', true)
})
report.failed = await run()
// Pages differ in where they show it.
await page.locator('[data-testid="error-overlay-see-errors"]').click({ timeout: 10000 }).catch(() => {})
const first = report.failed.ended.exception_message.split('\n')[0]
await page.waitForFunction(first => document.body.innerText.includes(first), first, { timeout: 10000 }).catch(() => {})
await shoot('error')
report.page = await page.evaluate(() => document.body.innerText)

await set(server, { 'Comfy.Locale': 'en' })
await browser.close()
console.log(JSON.stringify(report))
