// The first minute of a newcomer, in ComfyUI's own page: from its first sight to a picture, with the pointer and the keyboard alone, step by step.
//   PW=.../playwright-core/index.mjs node first_minute.mjs SERVER [PACK [TEMPLATE [SHOT.png]]]
// SERVER has no weights and no network; its input folder has ComfyUI's example.png, as a new ComfyUI has. Prints a table in Markdown: docs/first-minute.md.
// The second way is that of a pack without workflows: the same network, by the node that comfyui_controlnet_aux's graphs name. Its 493 MB
// cannot be downloaded here: the choice `tiny`, which only this pack has, stands in, and is counted apart.

const [server, pack = 'ComfyUI-Depth-Normal', template = 'Tiny Preview', shot] = process.argv.slice(2)
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
  await page.waitForFunction(() => window.app.graph.nodes.some(node => node.type === 'DepthNormal_EstimateGeometry'))
  await dialog.waitFor({ state: 'hidden' })
})
await step('*Run*: depth and normals are there', 1, async () => {
  await page.getByRole('button', { name: /^Run$|^Queue/ }).first().click()
  await pictures(2)
})
total()
if (shot) await page.screenshot({ path: shot })
console.log('| step | clicks | seconds |\n| --- | --- | --- |')
console.log(rows.join('\n'))
await browser.close()
