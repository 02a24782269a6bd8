// Runs a template in ComfyUI's own page, Nodes 2.0 at 100 %, and writes a JPEG of its nodes; make_screenshot.py starts the server.
//   PW=.../playwright-core/index.mjs node docs/screenshot.mjs SERVER PACK TEMPLATE OUT.jpg QUALITY
const [server, pack, template, out, quality] = process.argv.slice(2)
const { chromium } = await import(process.env.PW)
const settings = {
  'Comfy.TutorialCompleted': true, 'Comfy.InstalledVersion': '99.0.0', 'Comfy.Release.Status': 'skip', 'Comfy.Locale': 'en',
  'Comfy.VueNodes.Enabled': true, 'Comfy.Workflow.Persist': false, 'Comfy.RightSidePanel.IsOpen': false, 'Comfy.Minimap.Visible': false, 'Comfy.Graph.CanvasInfo': false,
}
await fetch(server + '/settings', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(settings) })

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] })
// Two pixels for each of the page's, so that words stay sharp on any screen; larger than the nodes, so that no panel lies over them.
const page = await browser.newPage({ viewport: { width: 1600, height: 1200 }, deviceScaleFactor: 2 })
page.setDefaultTimeout(60000)

const dialog = page.locator('[role=dialog], .p-dialog'), press = place => place.evaluate(element => element.click())
const results = () => [...document.querySelectorAll('[data-node-id] img')].filter(image => image.naturalWidth && image.src.includes('/view'))

async function openAndRun() {
  await page.goto(server, { waitUntil: 'domcontentloaded' })
  await page.waitForFunction(() => 'DepthNormal_DemoImage' in (window.LiteGraph?.registered_node_types ?? {}))
  await page.waitForTimeout(3000) // the page opens what it held last, or its own first graph, and only then may be used
  await page.evaluate(() => window.app.extensionManager.command.execute('Comfy.BrowseTemplates'))
  await press(dialog.getByText(pack).first())
  await press(dialog.getByText(template, { exact: true }).first())
  await dialog.waitFor({ state: 'hidden' })
  await page.waitForFunction(() => window.app.graph.nodes.some(node => node.type === 'DepthNormal_DemoImage'))
  await page.evaluate(() => window.app.queuePrompt(0))
  await page.waitForFunction(`(${results})().length >= 3`) // the demo's image and two maps
}

// The second run has its results at once, and no line that says how long this machine took.
await openAndRun()
await openAndRun()

const margin = 40
const box = await page.evaluate(margin => {
  const { canvas, graph } = window.app
  const left = Math.min(...graph.nodes.map(node => node.pos[0])), top = Math.min(...graph.nodes.map(node => node.pos[1])) - 30
  canvas.ds.scale = 1
  canvas.ds.offset = [200 - left, 150 - top]
  canvas.setDirty(true, true)
  const right = Math.max(...graph.nodes.map(node => node.pos[0] + node.size[0])), bottom = Math.max(...graph.nodes.map(node => node.pos[1] + node.size[1]))
  return { x: 200 - margin, y: 150 - margin, width: right - left + 2 * margin, height: bottom - top + 2 * margin }
}, margin)
await page.mouse.move(5, 1190) // away from the nodes: their images show buttons below the pointer
await page.waitForTimeout(3000) // the page fades its buttons and the notice of the run out
await page.screenshot({ path: out, clip: box, type: 'jpeg', quality: Number(quality) })
await browser.close()
