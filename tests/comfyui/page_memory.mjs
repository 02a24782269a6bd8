// Adds live nodes to ComfyUI's page and deletes them, several times, and prints as JSON what the page holds after each time:
//   PW=.../playwright-core/index.mjs node page_memory.mjs SERVER WORKFLOW.json PICTURE
// PICTURE lies in the server's input folder. The page draws by its canvas first, then by Nodes 2.0.
import { load, openPage, run, start, workflowOf } from './page.mjs'

const [server, file, picture] = process.argv.slice(2)
const { browser, page, errors } = await openPage(server, {
  'Comfy.VueNodes.Enabled': false, 'Comfy.RightSidePanel.IsOpen': false,
}, { timeout: 120000, gpu: true })
const report = { errors, renderers: [] }, workflow = workflowOf(file, picture)
const tools = await page.context().newCDPSession(page)

await page.addInitScript(() => {
  const { getContext } = HTMLCanvasElement.prototype
  window.contexts = new Set()
  HTMLCanvasElement.prototype.getContext = function (kind, ...values) {
    const context = getContext.call(this, kind, ...values)
    if (context && kind.startsWith('webgl')) window.contexts.add(context)
    return context
  }
})
await start(page, server)

/** What is alive of a class of the page, after a garbage collection. */
async function alive(prototypeOf, sum) {
  const { result: prototype } = await tools.send('Runtime.evaluate', { expression: prototypeOf })
  const { objects } = await tools.send('Runtime.queryObjects', { prototypeObjectId: prototype.objectId, objectGroup: 'counted' })
  const { result } = await tools.send('Runtime.callFunctionOn', { objectId: objects.objectId, functionDeclaration: sum, returnByValue: true })
  if (typeof result.value !== 'number') throw new Error(`nothing was measured: ${result.description}`)
  await tools.send('Runtime.releaseObjectGroup', { objectGroup: 'counted' })
  return result.value
}

/** Megabytes of arrays of numbers (images, maps). Their memory is freed a while after they are collected. */
async function numbers() {
  for (let i = 0; i < 3; i++) {
    await tools.send('HeapProfiler.collectGarbage')
    await page.evaluate(() => window.rest(300))
  }
  return (await tools.send('Runtime.getHeapUsage')).backingStorageSize / 1e6
}

/** Megabytes of numbers and of canvases, and how many WebGL contexts were made. */
const held = async () => ({
  canvases: await alive('HTMLCanvasElement.prototype', 'function () { return this.reduce((sum, each) => sum + 4 * each.width * each.height, 0) / 1e6 }'),
  numbers: await numbers(),
  contexts: await page.evaluate(() => window.contexts.size),
})

const round = (inSubgraph) => page.evaluate(async inSubgraph => {
  const types = ['DepthNormal_Relight', 'DepthNormal_PreviewGeometry', 'DepthNormal_Fog']
  const nodes = Array.from({ length: 30 }, (_, i) => {
    const node = window.add(types[i % 3], 300 * (i % 6), 1000 + 500 * Math.floor(i / 6))
    window.executed(node, { ...window.payload, text: String(i) })
    return node
  })
  for (let i = 0; i < 200 && !nodes.every(node => window.viewOf(node).maps); i++) await window.rest(200)
  const loaded = nodes.filter(node => window.viewOf(node).maps).length
  // One of the surfaces, which holds more than images.
  window.viewOf(nodes[1]).toggle()
  await window.rest(500)
  if (inSubgraph && window.app.graph.convertToSubgraph) {
    window.app.graph.convertToSubgraph(new Set(nodes))
    await window.rest(500)
  }
  return loaded
}, inSubgraph)

/** What the page holds with the workflow alone, with thirty nodes more, after each time that they were deleted, and after a subgraph of them. */
async function seen(nodes2) {
  await page.evaluate(nodes2 => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', nodes2), nodes2)
  await load(page, workflow)
  await run(page)
  await page.waitForFunction(() => window.viewOf(window.find('Relight')).frames > 0 && window.viewOf(window.find('PreviewGeometry')).maps)
  await page.evaluate(() => { window.payload = window.viewOf(window.find('Relight')).maps.payload })
  const before = await held(), rounds = []
  let full
  for (let number = 0; number < 2; number++) {
    const loaded = await round(false)
    full ??= await held()
    await page.evaluate(() => {
      for (const node of [...window.app.graph.nodes]) if (node.pos[1] >= 1000) window.app.graph.remove(node)
      return window.rest(2500)
    })
    rounds.push({ loaded, ...await held() })
  }
  // Loading a graph drops subgraphs without telling their nodes.
  const loaded = await round(true)
  await page.evaluate(graph => window.app.loadGraphData(graph, false), { ...workflow, nodes: [], links: [], groups: [] })
  await page.evaluate(() => window.rest(3000))
  return { before, full, rounds, subgraph: { loaded, ...await held() } }
}

for (const nodes2 of [false, true]) report.renderers.push(await seen(nodes2))
await browser.close()
console.log(JSON.stringify(report))
