// ComfyUI's page in headless Chromium, for the drivers beside this file; PW names playwright-core's index.mjs.
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
 */
export async function openPage(server, settings = {}, { size: [width, height] = [1500, 950], timeout = 90000, gpu = false, context = {} } = {}) {
  const known = { 'Comfy.TutorialCompleted': true, 'Comfy.InstalledVersion': '99.0.0', 'Comfy.Release.Status': 'skip', 'Comfy.Locale': 'en' }
  await set(server, { ...known, ...settings })
  const args = ['--no-sandbox', '--disable-gpu', ...(gpu ? ['--enable-unsafe-swiftshader'] : [])]
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args })
  const page = await (await browser.newContext({ viewport: { width, height }, ...context })).newPage(), errors = []
  page.setDefaultTimeout(timeout)
  page.on('pageerror', error => errors.push(error.message))
  return { browser, page, errors }
}

/** Goes to the page, and waits until it knows this type of node and shows a graph. */
export async function start(page, server, type = 'DepthNormal_Relight') {
  await page.goto(server, { waitUntil: 'domcontentloaded' })
  await page.waitForFunction(type => type in (window.LiteGraph?.registered_node_types ?? {}) && window.app?.graph?.nodes.length, type)
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
