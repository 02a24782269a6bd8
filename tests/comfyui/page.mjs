// ComfyUI's page in headless Chromium, for the drivers beside this file; PW names playwright-core's index.mjs.
import fs from 'node:fs'
const { chromium } = await import(process.env.PW)

/** Sets what the server keeps of a user. */
export const set = (server, settings) => fetch(server + '/settings', {
  method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(settings),
})

/**
 * Opens a page of ComfyUI in English, past its tutorial.
 * @param {Record<string, any>} settings Of ComfyUI, beside these.
 * @param {{ size?: [number, number], timeout?: number, gpu?: boolean, context?: object }} options `gpu`: WebGL on the processor, as the
 *   machine needs no graphics card.
 * @returns {Promise<{ browser: any, page: any, errors: string[], scripts: string[] }>} `scripts`: those of the pack that were asked for.
 */
export async function openPage(server, settings = {}, { size: [width, height] = [1500, 950], timeout = 90000, gpu = false, context = {} } = {}) {
  const known = { 'Comfy.TutorialCompleted': true, 'Comfy.InstalledVersion': '99.0.0', 'Comfy.Release.Status': 'skip', 'Comfy.Locale': 'en' }
  await set(server, { ...known, ...settings })
  const args = ['--no-sandbox', '--disable-gpu', ...(gpu ? ['--enable-unsafe-swiftshader'] : [])]
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args })
  const page = await (await browser.newContext({ viewport: { width, height }, ...context })).newPage(), errors = []
  page.setDefaultTimeout(timeout)
  page.on('pageerror', error => errors.push(error.message))
  const scripts = []
  page.on('request', request => scripts.push(...request.url().match(/(?<=\/extensions\/ComfyUI-Depth-Normal\/).*js$/) ?? []))
  return { browser, page, errors, scripts }
}

/** Goes to the page, and waits until it knows this type of node and shows a graph. */
export async function start(page, server, type = 'DepthNormal_Relight') {
  await page.goto(server, { waitUntil: 'domcontentloaded' })
  await page.waitForFunction(type => type in (window.LiteGraph?.registered_node_types ?? {}) && window.app?.graph?.nodes.length, type)
  await page.evaluate(() => {
    window.rest = (time = 600) => new Promise(resolve => setTimeout(resolve, time))
    window.find = type => window.app.canvas.graph.nodes.find(node => node.type === `DepthNormal_${type}`)
    /** The pack's image on a node. */
    window.viewOf = node => node?.widgets?.find(widget => widget.element?.depthNormal)?.element.depthNormal
    window.app.api.addEventListener('execution_start', ({ detail }) => { window.prompt = detail.prompt_id })
    /** Gives a node what another one's run gave the page, as if it had run in the last prompt. */
    window.executed = (node, payload) => window.app.api.dispatchCustomEvent('executed', {
      node: String(node.id), prompt_id: window.prompt, output: { depth_normal: [{ ...payload, type: node.type }] },
    })
    window.pixels = canvas => canvas.width ? canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data : []
    window.add = (type, x = 0, y = 0) => {
      const node = window.LiteGraph.createNode(type)
      node.pos = [x, y]
      window.app.canvas.graph.add(node)
      return node
    }
    window.input = (node, name) => node.inputs.findIndex(input => input.name === name)
  })
}

/** A workflow of a file, whose *Demo Image* shows a picture of the server's input folder. */
export function workflowOf(file, picture) {
  const workflow = JSON.parse(fs.readFileSync(file, 'utf8'))
  for (const node of workflow.nodes) if (node.type === 'DepthNormal_DemoImage') node.widgets_values[0] = picture
  return workflow
}

/** Opens a graph in the place of the last one, and waits until all of its nodes are there. */
export async function load(page, graph) {
  await page.evaluate(graph => { window.app.graph.clear(); return window.app.loadGraphData(graph) }, graph)
  await page.waitForFunction(count => window.app.graph.nodes.length === count, graph.nodes.length)
}

/** Queues the graph, and waits for its end: `kind` and what ComfyUI says of it. */
export const run = page => page.evaluate(() => new Promise(done => {
  for (const kind of ['execution_success', 'execution_error', 'execution_interrupted']) {
    window.app.api.addEventListener(kind, ({ detail }) => done({ kind, ...detail }), { once: true })
  }
  window.app.queuePrompt(0)
}))

/** Where Nodes 2.0 draws lists. */
export const lists = page => page.locator('[data-node-id] [role=combobox], [data-node-id] button[aria-haspopup]')

/** Opens the list of a widget of the first node, by the widget's place. */
export async function openList(page, nodes2, place) {
  if (nodes2 === 'true') return lists(page).nth(place).click()
  await page.waitForFunction(place => window.app.graph.nodes[0].widgets[place].last_y, place)
  return page.mouse.click(...await page.evaluate(place => {
    const [node] = window.app.graph.nodes, { ds, canvas } = window.app.canvas, box = canvas.getBoundingClientRect()
    const [x, y] = [node.pos[0] + node.size[0] / 2, node.pos[1] + node.widgets[place].last_y + 10]
    return [box.left + (x + ds.offset[0]) * ds.scale, box.top + (y + ds.offset[1]) * ds.scale]
  }, place))
}

/**
 * Brings a node into the middle of the page.
 * @param {import('playwright-core').Page} page
 * @param {string} finder A function of the page that gives the node, by its name in `window`.
 * @param {number} scale How large the canvas shows it.
 * @param {number} bottom Where its lower end comes, in pixels of the page.
 */
export function placeNode(page, finder, scale, bottom) {
  return page.evaluate(([finder, scale, bottom]) => {
    const { ds } = window.app.canvas, node = window[finder]()
    ds.scale = scale
    ds.offset[0] = 800 / scale - node.pos[0] - node.size[0] / 2
    ds.offset[1] = bottom / scale - node.pos[1] - node.size[1]
    window.app.canvas.setDirty(true, true)
  }, [finder, scale, bottom])
}
