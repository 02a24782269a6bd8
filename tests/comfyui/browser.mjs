// Opens workflows in ComfyUI's own page, one after the other in one headless Chromium, and prints as JSON what became of them:
//   PW=.../playwright-core/index.mjs node browser.mjs SERVER PACK NODE EXAMPLE.json TEMPLATES.json OLD.json WORKFLOW.json...
// What TEMPLATES names so is opened from the template browser, under the pack's name, and as a file; or in every layout; the rest as a file
// alone; then the OLD graph as a file, and the help of a NODE of the EXAMPLE is shown; the node and its help once more in Chinese.
// Nothing waits for a fixed time: a busy machine takes longer.
import fs from 'node:fs'
import path from 'node:path'
import { openPage, run, set, start } from './page.mjs'

const [server, pack, helped, example, templates, old, ...files] = process.argv.slice(2)
const { browser, page } = await openPage(server, {}, { size: [1600, 950], timeout: 60000 })
const bad = new Set()
page.on('response', answer => { if (answer.status() >= 400) bad.add(`${answer.status()} ${answer.url().replace(server, '')}`) })

const dialog = page.locator('[role=dialog], .p-dialog')

// A click without the pointer, which waits until nothing moves: among hundreds of cards a busy machine never gets there.
const press = place => place.evaluate(element => element.click())

// What the graph holds once it has as many nodes as it should, or after a while what it has then.
async function graph(count) {
  await page.waitForFunction(count => window.app.graph.nodes.length === count, count).catch(() => {})
  return page.evaluate(() => window.app.graph.nodes.map(node => ({
    id: node.id,
    type: node.type,
    known: node.type in window.LiteGraph.registered_node_types || Boolean(node.subgraph),
    widgets: Object.fromEntries((node.widgets ?? []).map(widget => [widget.name, widget.value])),
  })))
}

// The template's card. Newer pages draw two dozen cards, and more once the last of them comes into view.
async function card(name) {
  const place = dialog.getByText(name, { exact: true }).first()
  await dialog.locator('[data-testid^="template-workflow-"]').first().waitFor()
  const latest = Date.now() + 60000
  while (!await place.count() && Date.now() < latest) {
    await dialog.locator('[data-testid^="template-workflow-"]').last().evaluate(element => element.scrollIntoView())
    await place.waitFor({ timeout: 1000 }).catch(() => {})
  }
  return place
}

async function fromTemplates(name, count) {
  await page.evaluate(() => { window.app.graph.clear(); return window.app.extensionManager.command.execute('Comfy.BrowseTemplates') })
  await press(dialog.getByText(pack).first())
  await press(await card(name))
  await dialog.waitFor({ state: 'hidden' })
  return graph(count)
}

const open = (workflow, ...way) => page.evaluate(([workflow, way]) => { window.app.graph.clear(); return window.app.loadGraphData(workflow, ...way) }, [workflow, way])

// What the page made of a graph, and what it said of it.
async function shown(workflow) {
  const nodes = await graph(workflow.nodes.length)
  return { nodes, dialogs: (await page.locator('[role=dialog], .p-dialog, .p-toast-message').allInnerTexts()).filter(Boolean) }
}

async function fromFile(workflow) {
  await open(workflow)
  return shown(workflow)
}

// Drags blueprints from the page's list of nodes into the graph, and gives their widgets.
async function fromLibrary(names) {
  if (names.length) await page.evaluate(() => window.app.extensionManager.sidebarTab.toggleSidebarTab('node-library'))
  const found = {}
  for (const [place, name] of names.entries()) {
    const count = await page.evaluate(() => window.app.graph.nodes.length)
    await page.getByPlaceholder('Search').first().fill(name)
    await page.getByText(name, { exact: true }).first().dragTo(page.locator('#graph-canvas'), { targetPosition: { x: 900, y: 100 + 150 * place } })
    found[name] = Object.keys((await graph(count + 1)).at(-1).widgets)
  }
  return found
}

async function help(type) {
  await page.evaluate(type => window.app.canvas.selectNode(window.app.graph.nodes.find(node => node.type === type)), type)
  // In a layout that begins at the top, the row of tabs lies over the button
  await press(page.locator('[data-testid="info-button"], button:has(.icon-\\[lucide--info\\])').first())
  await page.locator('table').first().waitFor()
  await page.waitForLoadState('networkidle')
  return page.locator('body').innerText()
}

// Zoom, and the nodes' rectangles on the page: those that the renderer draws.
const layout = () => page.evaluate(() => {
  const { canvas, graph } = window.app, { scale, offset } = canvas.ds
  const boxes = graph.nodes.map(node => {
    const [x, y, width, height] = node.boundingRect, element = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect()
    return element ? [element.left, element.top, element.width, element.height].map((value, i) => value / scale - (offset[i] ?? 0)) : [x, y, width, height]
  })
  return { scale, boxes: boxes.map(box => box.map(Math.round)) }
})

async function settled() {
  let last = ''
  for (let i = 0; i < 20; i++) {
    const now = await layout()
    if (last === JSON.stringify(now)) return now
    last = JSON.stringify(now)
    await page.waitForTimeout(120)
  }
  return JSON.parse(last)
}

// Draws nodes by the page's newer renderer or by its canvas; false where the page is too old to have both.
const draw = nodes2 => page.evaluate(nodes2 => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', nodes2), nodes2).then(() => true, () => false)

// Templates in both renderers on a laptop, and on a large screen, which leaves a graph the more room in either; those to be run also after it.
async function layouts({ layouts, runs }) {
  const found = []
  for (const [nodes2, width, height] of [[false, 1920, 1080], [false, 1366, 650], [true, 1366, 650]]) {
    if (!await draw(nodes2) && nodes2) continue
    await page.setViewportSize({ width, height })
    for (const [name, workflow] of Object.entries(workflows)) {
      if (!layouts.includes(name)) continue
      await open(workflow, true, true, name, { openSource: 'template' })
      const opened = await shown(workflow)
      report.files[name] ??= opened
      const entry = { name, nodes2, width, ...await settled() }
      if (width === 1366 && runs.includes(name)) {
        await run(page)
        await page.waitForTimeout(500)
        entry.after = (await settled()).boxes
      }
      found.push(entry)
    }
  }
  await draw(false)
  return found
}

const report = { templates: {}, files: {} }
const asked = JSON.parse(fs.readFileSync(templates, 'utf8'))
const workflows = Object.fromEntries(files.map(file => [path.parse(file).name, JSON.parse(fs.readFileSync(file, 'utf8'))]))
await start(page, server, helped)
for (const [name, workflow] of Object.entries(workflows)) {
  const byCard = asked.templates.includes(name)
  if (byCard) report.templates[name] = await fromTemplates(name, workflow.nodes.length)
  if (byCard || !asked.layouts.includes(name)) report.files[name] = await fromFile(workflow)
}
report.layouts = await layouts(asked)
report.old = await fromFile(JSON.parse(fs.readFileSync(old, 'utf8')))
report.blueprints = await fromLibrary(asked.blueprints)
await fromFile(JSON.parse(fs.readFileSync(example, 'utf8')))
report.help = await help(helped)
report.bad = [...bad]
await set(server, { 'Comfy.Locale': 'zh' })
await start(page, server, helped)
report.chinese = await page.evaluate(type => {
  const node = window.LiteGraph.createNode(type)
  const labels = Object.fromEntries([...node.inputs, ...node.widgets].map(each => [each.name, each.localized_name ?? each.label]))
  const said = window.LiteGraph.createNode('DepthNormal_LoadGeometry').widgets.map(widget => widget.label)
  const search = window.app.extensionManager._p._s.get('nodeDef').nodeSearchService
  const found = Object.fromEntries(['霧', '虚化', 'デプス'].map(word => [word, search.searchNode(word).map(each => each.name)]))
  return { title: node.title, category: node.constructor.category, labels, said, found }
}, helped)
await fromFile(JSON.parse(fs.readFileSync(example, 'utf8')))
report.chinese.help = await help(helped)
await set(server, { 'Comfy.Locale': 'en' })
await browser.close()
console.log(JSON.stringify(report))
