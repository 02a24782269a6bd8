// The first minute of a newcomer, in ComfyUI's own page: from its first sight to a picture, with the pointer and the keyboard alone, step by step.
//   PW=.../playwright-core/index.mjs node first_minute.mjs SERVER [PACK [TEMPLATE [SHOT.png]]]
// SERVER has no weights and no network; its input folder has ComfyUI's example.png, as a new ComfyUI has. Prints a table in Markdown: benchmarks/first_minute.md.
// The second way is that of a pack without workflows: the same network, by the node that comfyui_controlnet_aux's graphs name. Its 493 MB
// cannot be downloaded here: the choice `tiny`, which only this pack has, stands in, and is counted apart.

const [server, pack = 'ComfyUI-Depth-Normal', template = 'Depth and Normals', shot] = process.argv.slice(2)
const { chromium } = await import(process.env.PW)
const settings = {
  'Comfy.TutorialCompleted': true, 'Comfy.InstalledVersion': '99.0.0', 'Comfy.Release.Status': 'skip', 'Comfy.Locale': 'en', 'Comfy.VueNodes.Enabled': true,
}
await fetch(server + '/settings', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(settings) })

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] })
const page = await browser.newPage({ viewport: { width: 1600, height: 950 } })
page.setDefaultTimeout(60000)

const rows = []
let clicks = 0, began = 0, before = 0

async function step(words, presses, action) {
  await action()
  const now = performance.now()
  clicks += presses
  rows.push(`| ${words} | ${presses} | ${((now - before) / 1000).toFixed(1)} |`)
  before = now
}

async function open() {
  before = began = performance.now()
  clicks = 0
  await step('the page opens', 0, async () => {
    await page.goto(server, { waitUntil: 'domcontentloaded' })
    await page.waitForFunction(() => window.app?.graph && document.querySelector('[data-testid="queue-button"], .comfyui-queue-button, button.side-bar-button'))
    await page.getByRole('button', { name: 'Templates' }).first().waitFor()
  })
}

const pictures = count => page.waitForFunction(count => window.app.graph.nodes.filter(node =>
  node.type === 'PreviewImage' && (node.imgs?.length || window.app.nodeOutputs?.[node.id]?.images?.length)).length >= count, count)
const total = () => rows.push(`| **together** | **${clicks}** | **${((performance.now() - began) / 1000).toFixed(1)}** |`)

const depthAndNormals = 'DepthNormal_DepthAndNormals'
const nodeOf = type => page.waitForFunction(type => window.app.graph.nodes.some(node => node.type === type), type)
const maps = () => page.waitForFunction(type => window.app.graph.nodes.some(node =>
  node.type === type && window.app.nodeOutputs?.[node.id]?.images?.length >= 2), depthAndNormals)

const dialog = page.locator('[role=dialog]').filter({ hasText: 'Templates' })
await open()
await step('*Templates*', 1, async () => {
  await page.getByRole('button', { name: 'Templates' }).first().click()
  await dialog.getByText(pack).first().waitFor()
})
await step(`*${pack}*`, 1, async () => {
  await dialog.getByText(pack).first().click()
  await dialog.getByText(template, { exact: true }).first().waitFor()
})
await step(`*${template}*`, 1, async () => {
  await dialog.getByText(template, { exact: true }).first().click()
  await nodeOf(depthAndNormals)
  await dialog.waitFor({ state: 'hidden' })
})
await step('*Run*: depth and normals are there', 1, async () => {
  await page.getByRole('button', { name: /^Run$|^Queue/ }).first().click()
  await maps()
})
total()
if (shot) await page.screenshot({ path: shot })
const print = title => console.log(`${title}\n\n| step | clicks and drags | seconds |\n| --- | --- | --- |\n${rows.splice(0).join('\n')}\n`)
print('By a workflow of the pack:')

// Without one: a graph by hand.
const byHand = [['Load Image', 'LoadImage', 350, 300], ['MiDaS Depth Map', 'DepthNormal_MiDaSDepthMap', 800, 300], ['Preview Image', 'PreviewImage', 1250, 300]]
const place = (type, socket, out) => page.evaluate(([type, socket, out]) => {
  const node = window.app.graph.nodes.find(node => node.type === type), { scale, offset } = window.app.canvas.ds
  const at = out ? node.getOutputPos(socket) : node.getInputPos(socket)
  const frame = window.app.canvas.canvas.getBoundingClientRect()
  return [(at[0] + offset[0]) * scale + frame.left, (at[1] + offset[1]) * scale + frame.top]
}, [type, socket, out])

// On a busy machine more than the time of a double click may pass between its two: it is made again, as a person would.
async function doubleClick(x, y) {
  for (let tries = 10; ; tries--) {
    await page.mouse.dblclick(x, y)
    try { return await page.locator('input:focus').waitFor({ timeout: 6000 }) } catch (error) { if (!tries) throw error }
  }
}

async function addNode([words, type, x, y]) {
  await step(`double click, type *${words}*, Enter, a click where it goes`, 3, async () => {
    await doubleClick(x, y)
    await page.keyboard.type(words)
    await page.getByText(words, { exact: true }).first().waitFor()
    await page.waitForTimeout(500)
    await page.keyboard.press('Enter')
    await nodeOf(type)
    await page.waitForTimeout(600)
    await page.mouse.move(x + 20, y, { steps: 3 })
    await page.mouse.move(x, y, { steps: 3 })
    await page.waitForTimeout(200)
    await page.mouse.click(x, y)
    await page.waitForTimeout(400)
  })
}

async function emptyWorkflow() {
  await open()
  await step('a new, empty workflow', 1, async () => {
    await page.locator('.pi-plus, [class*="lucide--plus"]').first().click()
    await page.waitForFunction(() => window.app.graph.nodes.length === 0)
  })
}

await fetch(server + '/settings', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ 'Comfy.VueNodes.Enabled': false }) })
await emptyWorkflow()
await addNode(byHand[0])
await step('a link from *Load Image* to an empty place, *Search*, type *depth*, Enter', 2, async () => {
  await page.mouse.move(...await place('LoadImage', 0, true))
  await page.mouse.down()
  await page.mouse.move(900, 400, { steps: 8 })
  await page.mouse.up()
  const search = page.locator('input:focus')
  const menu = page.locator('.litecontextmenu').getByText('Search', { exact: true })
  await search.or(menu).first().waitFor()
  if (await menu.count()) await menu.first().click()
  await search.waitFor()
  await page.keyboard.type('depth')
  await page.getByText('Depth & Normals', { exact: true }).first().waitFor()
  await page.waitForTimeout(500)
  await page.keyboard.press('Enter')
  await nodeOf(depthAndNormals)
  await page.waitForFunction(type => window.app.graph.nodes.find(node => node.type === type).inputs[0].link, depthAndNormals)
})
await step('*Run*: depth and normals are there', 1, async () => {
  await page.getByRole('button', { name: /^Run$|^Queue/ }).first().click()
  await maps()
})
total()
if (shot) await page.screenshot({ path: shot.replace('.png', '_by_hand.png') })
print('By hand, with the node *Depth & Normals*:')

await emptyWorkflow()
for (const each of byHand) await addNode(each)
for (const [from, to] of [[byHand[0], byHand[1]], [byHand[1], byHand[2]]]) {
  await step(`a link from *${from[0]}* to *${to[0]}*`, 1, async () => {
    await page.waitForTimeout(200)
    await page.mouse.move(...await place(from[1], 0, true))
    await page.mouse.down()
    await page.mouse.move(...await place(to[1], 0, false), { steps: 8 })
    await page.mouse.up()
    await page.waitForFunction(type => window.app.graph.nodes.find(node => node.type === type).inputs[0].link, to[1])
  })
}
await page.evaluate(() => { window.app.graph.nodes.find(node => node.type === 'DepthNormal_MiDaSDepthMap').widgets.find(widget => widget.name === 'model').value = 'tiny' })
await step('*Run*: depth is there (without the download)', 1, async () => {
  await page.getByRole('button', { name: /^Run$|^Queue/ }).first().click()
  await pictures(1)
})
total()
print('By hand, node by node, as a pack without workflows asks for:')
await browser.close()
