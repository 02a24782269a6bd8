// What nodes say in ComfyUI's page while they work, the lists of models, and an error, as JSON:
//   PW=.../playwright-core/index.mjs node words.mjs SERVER PICTURE NODES2 SHOTS
// PICTURE lies in the server's input folder; NODES2 is "true" for Nodes 2.0; SHOTS is a folder for screenshots, or empty.
import path from 'node:path'
import { openList, openPage, start } from './page.mjs'

const [server, picture, nodes2, shots] = process.argv.slice(2)
const { browser, page, errors, scripts } = await openPage(server, { 'Comfy.VueNodes.Enabled': nodes2 === 'true' })
const report = { errors }
const shoot = name => shots && page.screenshot({ path: path.join(shots, `${name}_${nodes2 === 'true' ? 'nodes2' : 'canvas'}.png`) })

await start(page, server, 'DepthNormal_LoadModel')
report.scripts = [...scripts]
const prepare = () => {
  window.words = []
  window.ended = []
  window.noted = () => {
    const node = window.find('DepthAndNormals')
    return node?.widgets.find(widget => widget.name === '$$depth_normal_words')?.element.textContent ?? ''
  }
  const { api, graph, canvas } = window.app
  api.addEventListener('depth_normal_words', ({ detail }) => window.words.push({ ...detail, at: performance.now() }))
  for (const kind of ['execution_success', 'execution_error', 'execution_interrupted']) {
    api.addEventListener(kind, ({ detail }) => window.ended.push({ kind, ...detail }))
  }
  // A chain from Load Image through a node to Preview Image; returns the ids.
  window.chain = (type, picture, widgets = {}) => {
    graph.clear()
    graph.id = crypto.randomUUID() // a cleared graph has none
    const [load, node, show] = ['LoadImage', type, 'PreviewImage'].map((each, i) => window.add(each, 60 + 440 * i, 120))
    load.widgets.find(widget => widget.name === 'image').value = picture
    for (const [name, value] of Object.entries(widgets)) node.widgets.find(widget => widget.name === name).value = value
    load.connect(0, node, window.input(node, 'image'))
    node.connect(0, show, 0)
    canvas.ds.reset()
    return node.id
  }
}
await page.evaluate(prepare)

const run = async (until = () => window.ended.length > 0) => {
  await page.evaluate(() => { window.words.length = window.ended.length = 0; return window.app.queuePrompt(0) })
  await page.waitForFunction(until)
}
const said = () => page.evaluate(() => ({
  words: window.words, ended: window.ended,
  row: window.app.graph.nodes.flatMap(node => node.widgets ?? []).find(widget => widget.name === '$$depth_normal_words')?.element.textContent,
}))

// A preview that needs no download: what the node says while it loads and runs.
await page.evaluate(picture => window.chain('MiDaS-DepthMapPreprocessor', picture, { model: 'tiny', resolution: 256 }), picture)
await run()
report.tiny = await said()
report.kept = await page.evaluate(() => window.app.graph.serialize().nodes.find(node => node.type.startsWith('MiDaS')).widgets_values)
await shoot('done')

// More than two lines: the rest by a click.
report.whole = await page.evaluate(async () => {
  const node = window.app.graph.nodes.find(node => node.type.startsWith('MiDaS')), text = `${'a long warning '.repeat(30)}and its end`
  window.app.api.dispatchCustomEvent('progress_text', { nodeId: String(node.id), text })
  await window.rest()
  const { element } = node.widgets.find(widget => widget.name === '$$depth_normal_words')
  element.dispatchEvent(new PointerEvent('pointerenter'))
  element.click()
  await window.rest()
  const shown = [...document.querySelectorAll('.p-toast-message')].map(each => each.innerText), { cursor } = element.style
  for (const close of document.querySelectorAll('.p-toast-close-button, .p-toast-message button')) close.click()
  window.app.api.dispatchCustomEvent('progress_text', { nodeId: String(node.id), text: 'short' })
  element.click()
  await window.rest()
  return { shown: shown.some(words => words.includes(text)), cursor, again: document.querySelectorAll('.p-toast-message').length }
})

// Another look of the same estimate: what stands there afterwards is of this run.
await page.evaluate(() => { window.app.graph.nodes.find(node => node.type.startsWith('MiDaS')).widgets.find(widget => widget.name === 'normalisation').value = 'per_clip' })
await run()
report.again = await said()

// What the log says of a setting stays on the node: after the run, after the page was loaded again, and until it is set right.
const noted = async isThere => {
  await page.waitForFunction(isThere => window.noted().includes('768') === isThere, isThere, { timeout: 9000 }).catch(() => {})
  return page.evaluate(() => window.noted())
}
const open = async () => {
  await start(page, server, 'DepthNormal_LoadModel')
  await page.evaluate(prepare)
}
await page.evaluate(picture => window.chain('DepthNormal_DepthAndNormals', picture, { model: 'tiny', resolution: 768 }), picture)
await run()
report.noted = { run: await noted(true), shown: await page.waitForFunction(() => document.body.innerText.includes('in place of 768'), null, { timeout: 9000 }).then(() => true, () => false) }
await shoot('noted')
// the page keeps its graph a while after a change
await page.waitForFunction(() => [localStorage, sessionStorage].some(kept => Object.values(kept).some(text => text.includes('DepthNormal_DepthAndNormals'))), null, { timeout: 9000 })
page.once('dialog', dialog => dialog.accept())
await open()
report.noted.reloaded = await noted(true)
await shoot('noted again')
await page.evaluate(() => { window.find('DepthAndNormals').widgets.find(widget => widget.name === 'resolution').value = 0 })
await run()
report.noted.right = await noted(false)

// A model that is nowhere: the error, until the next run, in which ComfyUI has the node's result still.
const choose = model => page.evaluate(model => { window.app.graph.nodes.find(node => node.type.startsWith('DepthAnything')).widgets.find(widget => widget.name === 'ckpt_name').value = model }, model)
await page.evaluate(picture => window.chain('DepthAnythingV2Preprocessor', picture, { ckpt_name: 'tiny' }), picture)
await run()
await choose('depth_anything_v2_vitl.pth')
await run()
report.missing = await said()
await page.waitForTimeout(1500)
await shoot('missing')
await page.keyboard.press('Escape')
await choose('tiny')
await run()
report.mended = await said()

// The same, then another graph, whose nodes have the same ids, and back again.
await choose('depth_anything_v2_vitl.pth')
await run()
const saved = await page.evaluate(() => window.app.graph.serialize())
await page.evaluate(picture => window.chain('DepthAnythingV2Preprocessor', picture), picture)
await page.waitForTimeout(900)
report.other = (await said()).row
await page.evaluate(saved => window.app.loadGraphData(saved), saved)
await page.waitForFunction(() => window.app.graph.nodes.flatMap(node => node.widgets ?? []).some(widget => widget.element?.textContent.includes('tiny')), null, { timeout: 9000 }).catch(() => {})
report.back = (await said()).row

// The list of models: what is shown, and what is kept.
report.list = await page.evaluate(() => {
  window.app.graph.clear()
  const node = window.add('DepthNormal_LoadModel', 60, 60)
  window.app.canvas.ds.reset()
  const widget = node.widgets.find(widget => widget.name === 'model')
  return { value: widget.value, values: widget.options.values, labels: widget.options.values.map(value => widget.options.getOptionLabel(value)) }
})
await openList(page, nodes2, 0)
await page.getByText('moge-2-vitb-normal').last().waitFor()
report.shown = await page.evaluate(() => document.body.innerText)
await shoot('list')
await page.getByText('moge-2-vitb-normal · ').last().click()
await page.waitForFunction(() => window.app.graph.nodes[0].widgets[0].value === 'moge-2-vitb-normal')
report.chosen = await page.evaluate(() => window.app.graph.serialize().nodes[0].widgets_values[0])
await shoot('chosen')

// A download that takes its time, and is cancelled.
await page.evaluate(() => {
  window.app.graph.clear()
  window.app.graph.add(window.LiteGraph.createNode('Test_UseSlowDownload'))
})
await run()
// The file has another size by now; the key R asks for it, also of a node in a subgraph.
report.refreshed = await page.evaluate(async () => {
  const { app } = window, node = window.add('DepthNormal_LoadModel')
  const [inside] = app.graph.convertToSubgraph(new Set([node])).node.subgraph.nodes
  await app.refreshComboInNodes()
  return inside.widgets.find(widget => widget.name === 'model').options.getOptionLabel('zoedepth-nyu')
})
report.node = await page.evaluate(picture => window.chain('Zoe-DepthMapPreprocessor', picture, { model: 'zoedepth-nyu' }), picture)
await run(() => window.words.filter(({ text }) => /downloading [1-9]\d %/.test(text)).length > 3)
await shoot('download')
await page.evaluate(picture => window.chain('Zoe-DepthMapPreprocessor', picture), picture)
await page.waitForTimeout(900)
report.elsewhere = (await said()).row
await page.evaluate(() => window.app.api.interrupt())
await page.waitForFunction(() => window.ended.length > 0)
report.download = await said()

await browser.close()
console.log(JSON.stringify(report))
