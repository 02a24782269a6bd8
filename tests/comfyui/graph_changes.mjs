// Changes the graph around a live *Relight* in ComfyUI's page as users do, and after each change drags the light with a real mouse. Prints
// as JSON what was seen:
//   PW=.../playwright-core/index.mjs node graph_changes.mjs SERVER WORKFLOW.json PICTURE NODES2 SHOTS
// PICTURE lies in the server's input folder; NODES2 is "true" for Nodes 2.0; SHOTS is a folder for screenshots, or empty.
import fs from 'node:fs'
import path from 'node:path'
import { load, openPage, placeNode, run as runGraph, start, workflowOf } from './page.mjs'

const [server, file, picture, nodes2, shots] = process.argv.slice(2)
const { browser, page, errors } = await openPage(server, {
  'Comfy.VueNodes.Enabled': nodes2 === 'true', 'Comfy.RightSidePanel.IsOpen': false, 'Comfy.Workflow.Persist': true,
}, { timeout: 30000, gpu: true })
const report = { errors, steps: {} }, live = ['PreviewGeometry', 'ForegroundCutout', 'Relight']

// One lamp and its image are enough, large enough to be hit.
const workflow = workflowOf(file, picture)

async function open() {
  await start(page, server)
  await page.evaluate(() => {
    window.shown = () => window.app.canvas.graph
    window.relight = () => window.shown().nodes.filter(node => node.type === 'DepthNormal_Relight').at(-1)
    // What stands on the page in the node's place, which may be something else than what the node holds.
    window.rootOf = () => [...document.querySelectorAll('div')].filter(each => each.depthNormal && each.isConnected && each.offsetParent)
      .find(each => (each.closest('[data-node-id]')?.dataset.nodeId ?? String(window.relight().id)) === String(window.relight().id) && 'frames' in each.depthNormal)
    window.isShown = node => {
      const { root, canvas } = window.viewOf(node).view
      return root.isConnected && root.offsetParent !== null && window.pixels(canvas).some(value => value)
    }
    window.value = name => window.relight().widgets.find(widget => widget.name === name)?.value
  })
}

const rest = time => page.evaluate(time => window.rest(time), time)

/** Brings the node into the middle of the page, in its own size. */
async function centre() {
  await placeNode(page, 'relight', 0.8, 640)
  await rest()
}

/** Drags to a place of the image, by the mouse; says what followed. */
async function drag(x, y, name) {
  await centre()
  await page.waitForFunction(() => window.rootOf()?.querySelector('canvas').width > 0, null, { timeout: 6000 }).catch(() => {})
  const box = await page.evaluate(() => {
    const root = window.rootOf()
    if (!root?.querySelector('canvas').width) return null
    window.canvas = root.querySelector('canvas')
    window.before = window.pixels(window.canvas)
    const { left, top, scale } = root.depthNormal.view.box(), { width, height } = root.depthNormal.view
    return { left, top, width: scale * width, height: scale * height }
  })
  if (shots) await page.screenshot({ path: path.join(shots, `${nodes2 === 'true' ? 'nodes2' : 'canvas'}-${name}.png`) })
  if (!box) return { image: false }
  const at = (x, y) => [box.left + x * box.width, box.top + y * box.height]
  const hit = await page.evaluate(([x, y]) => window.rootOf().contains(document.elementFromPoint(x, y)), at(0.5, 0.5))
  await page.mouse.move(...at(0.5, 0.5))
  await page.mouse.down()
  await page.mouse.move(...at((0.5 + x) / 2, (0.5 + y) / 2))
  await page.mouse.move(...at(x, y))
  await page.mouse.up()
  await rest()
  return page.evaluate(hit => {
    const after = window.pixels(window.canvas)
    return { image: true, hit, on: window.canvas.isConnected, x: window.value('light_x'), y: window.value('light_y'), lit: after.some((each, i) => each !== window.before[i]) }
  }, hit)
}

const step = async (name, x, y) => { report.steps[name] = { wanted: [x, y], ...await drag(x, y, name).catch(error => ({ error: error.message })) } }
const press = async keys => { await page.keyboard.press(keys); await rest(800) }
const place = () => page.evaluate(() => [window.value('light_x'), window.value('light_y')])
const run = async () => {
  await runGraph(page)
  await rest()
}

await open()
await load(page, workflow)
await page.evaluate(() => {
  const cut = window.add('DepthNormal_ForegroundCutout', 1078, 900)
  window.find('DemoImage').connect(0, cut, window.input(cut, 'image'))
  window.find('EstimateGeometry').connect(0, cut, window.input(cut, 'geometry'))
  cut.connect(0, window.add('PreviewImage', 1464, 900), 0)
})
await rest(1000)
await run()
await step('run', 0.3, 0.3)
await step('again', 0.7, 0.4)
await press('Control+z')
report.undone = await place()
await step('undo', 0.2, 0.6)
await press('Control+z')
await press('Control+y')
report.redone = await place()
await step('redo', 0.6, 0.2)

// Out and in of the page's view.
await page.evaluate(() => { window.app.canvas.ds.offset[0] += 9000; window.app.canvas.setDirty(true, true) })
await rest(800)
await step('back in view', 0.35, 0.35)

async function copyByKeys() {
  await page.keyboard.press('Control+c')
  await page.keyboard.press('Control+v')
}

async function dragWithAlt() {
  const title = await page.evaluate(() => {
    const { canvas: { canvas, ds } } = window.app, { pos } = window.original(), { left, top } = canvas.getBoundingClientRect()
    return [left + (pos[0] + 80 + ds.offset[0]) * ds.scale, top + (pos[1] - 15 + ds.offset[1]) * ds.scale]
  })
  await page.mouse.move(...title)
  await page.keyboard.down('Alt')
  await page.mouse.down()
  for (const share of [0.1, 0.5, 1]) await page.mouse.move(title[0] + 60 * share, title[1] - 90 * share)
  await page.mouse.up()
  await page.keyboard.up('Alt')
}

// Copied by keys and by dragging with Alt, each live image is made anew on the copy.
async function copied(type, byKeys) {
  const count = await page.evaluate(type => {
    window.alike = () => window.shown().nodes.filter(node => node.type === `DepthNormal_${type}`)
    window.original = () => window.alike()[0]
    window.app.canvas.deselectAll()
    window.app.canvas.selectNode(window.original())
    return window.alike().length
  }, type)
  await placeNode(page, 'original', 0.5, 640)
  await rest()
  for (let time = 0; time < 2 && await page.evaluate(count => window.alike().length === count, count); time++) {
    await (byKeys ? copyByKeys() : dragWithAlt()) // the page misses the first Alt
    await rest(1500)
  }
  if (shots) await page.screenshot({ path: path.join(shots, `${nodes2 === 'true' ? 'nodes2' : 'canvas'}-${type}-${byKeys}.png`) })
  return page.evaluate(() => {
    const copy = window.alike().at(-1)
    if (copy === window.original()) return false
    const seen = window.isShown(copy)
    window.shown().remove(copy)
    return seen
  })
}
report.copies = {}
for (const type of live) {
  for (const byKeys of [true, false]) report.copies[`${type} ${byKeys ? 'by keys' : 'by Alt'}`] = await copied(type, byKeys).catch(error => error.message)
}
await rest()
await step('paste', 0.65, 0.3)

// A subgraph: made, entered, left, undone, redone in it, and unpacked.
const subgraph = await page.evaluate(() => {
  const made = window.shown().convertToSubgraph?.(new Set([window.relight()]))
  window.hostId = made?.node.id
  return Boolean(made)
})
if (subgraph) {
  await rest()
  const enter = () => page.evaluate(() => {
    const { canvas } = window.app, host = window.shown().getNodeById(window.hostId)
    if (canvas.openSubgraph.length > 1) canvas.openSubgraph(host.subgraph, host)
    else canvas.openSubgraph(host.subgraph)
  })
  const leave = () => page.evaluate(() => window.app.canvas.setGraph(window.app.rootGraph ?? window.app.graph))
  await enter()
  await rest(1000)
  await step('subgraph', 0.4, 0.6)
  await step('subgraph again', 0.6, 0.6)
  await press('Control+z')
  report.undoneInside = await page.evaluate(() => Boolean(window.relight())).then(inside => inside ? place() : null)
  await step('undo in subgraph', 0.25, 0.25)
  await leave()
  await rest(800)
  await enter()
  await rest(1000)
  await step('subgraph entered again', 0.7, 0.7)
  await leave()
  await rest(800)
  await page.evaluate(() => window.shown().unpackSubgraph(window.shown().getNodeById(window.hostId)))
  await rest(800)
  await step('unpacked', 0.5, 0.25)
}

// Another tab, and back.
await page.evaluate(() => {
  window.arrived = []
  window.firstId = window.app.graph.id
  window.app.api.addEventListener('executed', ({ detail }) => window.arrived.push(detail))
})
await run()
const tabs = await page.evaluate(async () => {
  const { workflow: store } = window.app.extensionManager
  const first = store.activeWorkflow
  await window.app.extensionManager.command.execute('Comfy.NewBlankWorkflow')
  await window.rest(1000)
  window.first = first.path
  return store.activeWorkflow.path !== first.path && window.shown().nodes.length === 0
})
report.tabs = tabs
// The page gives what arrives to nodes of the same number: here as if the first tab's run went on.
report.foreign = await page.evaluate(async () => {
  const { graph, api } = window.app, arrived = window.arrived.filter(({ output }) => output?.depth_normal)
  const lamps = arrived.map(({ node: id }) => {
    const lamp = window.LiteGraph.createNode('DepthNormal_Relight')
    lamp.id = Number(id)
    return graph.add(lamp)
  })
  const said = lamp => [Boolean(window.viewOf(lamp).maps), window.viewOf(lamp).view.root.innerText, ...lamp.widgets.filter(widget => widget.name === '$$depth_normal_words').map(({ element }) => element.textContent)]
  const before = lamps.map(said), seen = { count: lamps.length }
  // The second time as if both tabs were opened from one file.
  for (const id of [graph.id, window.firstId]) {
    graph.id = id
    for (const detail of arrived) {
      api.dispatchCustomEvent('executed', detail)
      api.dispatchCustomEvent('progress_text', { nodeId: detail.node, text: 'running 2 of 3' })
    }
    await window.rest(1500)
  }
  seen.arrived = JSON.stringify(lamps.map(said)) === JSON.stringify(before) || lamps.map(said)
  for (const lamp of lamps) lamp.configure(lamp.serialize())
  await window.rest(1500)
  seen.restored = JSON.stringify(lamps.map(said)) === JSON.stringify(before) || lamps.map(said)
  return seen
})
const names = page.locator('.workflow-tab')
await names.nth(await names.count() - 2).click({ timeout: 4000 }).catch(error => report.errors.push(error.message))
await page.waitForFunction(() => window.relight(), null, { timeout: 8000 }).catch(error => report.errors.push(error.message))
await rest(1000)
await step('tab', 0.3, 0.7)

// The page is loaded again: the last run is shown without another one.
await rest(1500)
page.once('dialog', dialog => dialog.accept())
await open()
await page.waitForFunction(() => window.relight(), null, { timeout: 8000 }).catch(error => report.errors.push(error.message))
await centre().catch(() => {})
await step('reload', 0.3, 0.3)
report.again = {}
for (const type of live) {
  await page.evaluate(type => { window.reloaded = () => window.find(type) }, type)
  await placeNode(page, 'reloaded', 0.5, 640)
  await rest()
  report.again[type] = await page.evaluate(() => window.isShown(window.reloaded()))
}
// The surface in 3D, of what the server kept.
report.again.surface = await page.evaluate(async () => {
  const view = window.viewOf(window.find('PreviewGeometry'))
  view.toggle()
  await window.rest(1000)
  return view.scene?.solid?.triangles.length > 0
})
await run()
await step('run after reload', 0.6, 0.3)

// The page's panel of parameters draws widgets in its own width.
await page.evaluate(() => {
  window.app.canvas.selectNode(window.relight())
  return window.app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', true)
})
await rest(2500)
report.width = await page.evaluate(() => [window.rootOf()?.offsetWidth, window.relight().size[0]])
await page.evaluate(() => window.app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', false))

// A blueprint shows the light of the node in it.
const blueprint = JSON.parse(fs.readFileSync(path.join(path.dirname(file), '..', 'subgraphs', 'Relight Photo.json'), 'utf8'))
const [host] = blueprint.nodes, demo = workflow.nodes.find(node => node.type === 'DepthNormal_DemoImage')
host.inputs[0].link = 1
host.outputs[0].links = [2]
const before = { ...demo, id: 101, order: 0, pos: [-400, 60], outputs: demo.outputs.map((output, place) => ({ ...output, links: place ? null : [1] })) }
const after = { id: 102, type: 'PreviewImage', pos: [500, 60], size: [250, 300], flags: {}, order: 2, mode: 0, inputs: [{ name: 'images', type: 'IMAGE', link: 2 }], outputs: [], properties: {}, widgets_values: [] }
blueprint.nodes = [before, host, after]
blueprint.links = [[1, 101, 0, host.id, 0, 'IMAGE'], [2, host.id, 0, 102, 0, 'IMAGE']]
Object.assign(blueprint, { last_node_id: 102, last_link_id: 2 })
await load(page, blueprint)
await rest(1000)
await run()
await page.evaluate(() => {
  window.relight = () => window.shown().nodes.find(node => node.isSubgraphNode?.())
  window.angles = () => ['azimuth', 'elevation'].map(name => window.relight().widgets.find(widget => widget.name === name)?.value)
})
const angles = await page.evaluate(() => window.angles())
report.blueprint = await drag(0.7, 0.35, 'blueprint').catch(error => ({ error: error.message }))
report.below = await page.evaluate(() => {
  const host = window.relight(), own = host.widgets.find(widget => widget.element?.depthNormal), others = host.widgets.filter(widget => widget !== own)
  const rows = [...document.querySelectorAll(`[data-node-id="${host.id}"] :is(input, [role=combobox])`)].map(row => row.getBoundingClientRect().bottom)
  return rows.length ? window.rootOf().getBoundingClientRect().top >= Math.max(...rows) : own.y > Math.max(...others.map(widget => widget.y))
})
report.turned = await page.evaluate(before => window.angles().every((angle, place) => angle !== before[place]), angles)

await browser.close()
console.log(JSON.stringify(report))
