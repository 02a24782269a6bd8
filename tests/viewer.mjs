// Opens a page of `geometry/files/html_page.py` from the disk, uses it as a person would, and prints as JSON what was seen:
//   PW=.../playwright-core/index.mjs node viewer.mjs PAGE.html [SHOTS [COLOUR_SCHEME [WIDTH [LOCALE]]]]
// SHOTS is a folder for screenshots.
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [file, shots, colorScheme = 'light', width = '1400', locale = 'en-US'] = process.argv.slice(2)
const { chromium } = await import(process.env.PW)
// WebGL on the processor: the machine needs no graphics card.
const args = ['--no-sandbox', '--disable-gpu', '--enable-unsafe-swiftshader']
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args })
const page = await browser.newPage({ viewport: { width: Number(width), height: 860 }, colorScheme, locale })
const report = { errors: [], requests: [], modes: {} }
page.on('pageerror', error => report.errors.push(error.message))
page.on('console', message => { if (message.type() === 'error') report.errors.push(message.text()) })
page.on('request', request => { if (!/^(file|data|blob):/.test(request.url())) report.requests.push(request.url()) })

await page.goto(pathToFileURL(path.resolve(file)).href)
await page.waitForFunction(() => document.querySelector("#modes button"), null, { timeout: 15000 }).catch(error => { console.error(JSON.stringify(report)); throw error })
report.title = await page.title()
report.facts = await page.textContent('#facts')
report.overflow = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)

const rest = () => page.waitForTimeout(400)
const line = () => page.evaluate(() => document.querySelector('main span').textContent)
// The canvas, and numbers that tell two drawings apart.
const drawn = () => page.evaluate(() => {
  const canvas = document.querySelector('main canvas'), { width, height } = canvas
  const data = canvas.getContext('2d').getImageData(0, 0, width, height).data
  const sums = [0, 0, 0]
  let sum = 0
  for (let i = 0; i < data.length; i += 4) for (let j = 0; j < 3; j++) { sums[j] += data[i + j]; sum = (sum * 31 + data[i + j]) % 1000000007 }
  return { width, height, mean: sums.map(each => each / (data.length / 4)), sum }
})
const stage = await page.locator('main').boundingBox()
// A point at fractions of the area that the image is fitted into.
const at = (x, y) => [stage.x + x * stage.width, stage.y + y * stage.height]

for (const [index, button] of (await page.locator('#modes button').all()).entries()) {
  const name = await button.textContent()
  await button.click()
  await page.mouse.move(stage.x + 1, stage.y + 1)
  await rest()
  const seen = { controls: await page.locator('#controls > *').count(), hint: await line(), before: await drawn() }
  await page.mouse.move(...at(0.5, 0.45))
  await rest()
  seen.under = await line()
  if (shots) await page.screenshot({ path: path.join(shots, `${index}.png`) })
  await page.mouse.down()
  await page.mouse.move(...at(0.62, 0.4), { steps: 4 })
  await page.mouse.up()
  await rest()
  seen.dragged = await drawn()
  await page.mouse.wheel(0, 240)
  await rest()
  seen.wheeled = await drawn()
  if (shots) await page.screenshot({ path: path.join(shots, `${index}_dragged.png`) })
  seen.keys = {}
  for (const key of ['+', 'Shift+ArrowLeft', 'Escape']) {
    await page.keyboard.press(key)
    await rest()
    seen.keys[key] = await drawn()
  }
  const focused = page.locator(':focus'), { x, y, height } = await focused.boundingBox(), clip = { x, y: y + height / 2, width: 4, height: 4 }
  const edge = await page.screenshot({ clip })
  await focused.blur()
  seen.ring = !edge.equals(await page.screenshot({ clip }))
  report.modes[name] = seen
}
await browser.close()
console.log(JSON.stringify(report))
