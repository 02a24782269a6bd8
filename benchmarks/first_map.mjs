// How many clicks and seconds a newcomer without ComfyUI needs from the end of `pip install` to the first map, by README's own commands.
//   PW=.../playwright-core/index.mjs node benchmarks/first_map.mjs DEPTH_NORMAL PHOTO
// DEPTH_NORMAL is the installed command (.venv/bin/depth-normal), PHOTO an image. Prints a table in Markdown, and how busy the machine was: docs/ui.md.
import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import path from 'node:path'

const [command, photo] = process.argv.slice(2).map(each => path.resolve(each))
const { chromium } = await import(process.env.PW)
const folder = mkdtempSync(path.join(tmpdir(), 'first-map-')), name = path.basename(photo), rows = []
const seconds = began => ((performance.now() - began) / 1000).toFixed(1)
copyFileSync(photo, path.join(folder, name))

/** A command that ends by itself, and the map that it leaves. What others left is gone: the demo's photo may have the same name. */
function ran(words, map) {
  rmSync(path.join(folder, 'depth-normal'), { recursive: true, force: true })
  const began = performance.now(), { status, stderr } = spawnSync(command, words, { cwd: folder })
  if (status || !existsSync(path.join(folder, 'depth-normal', map))) throw new Error(`${words.join(' ')}: ${stderr}`)
  rows.push(`| \`depth-normal ${words.join(' ')}\` | 0 | ${seconds(began)} |`)
}

/** The page from the command on, until a depth map is drawn; `use` has the clicks of a person. */
async function seen(words, clicks, use) {
  const began = performance.now(), server = spawn(command, ['ui', '--no-browser'], { cwd: folder })
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--enable-unsafe-swiftshader'] })
  try {
    const address = await new Promise(resolve => { let said = ''; server.stdout.on('data', text => { said += text; const found = said.match(/http\S+/); if (found && said.includes('\n')) resolve(found[0]) }) })
    const page = await browser.newPage({ viewport: { width: 1400, height: 860 }, locale: 'en-US' })
    await page.goto(address)
    await page.waitForSelector('body[data-ready]')
    const opened = seconds(began)
    await use(page)
    await page.waitForSelector('#modes button')
    await page.waitForFunction(() => document.querySelector('#stage canvas')?.width > 0)
    rows.push(`| \`depth-normal ui\`, ${words} (the page is there after ${opened} s) | ${clicks} | ${seconds(began)} |`)
  } finally {
    await browser.close()
    server.kill('SIGINT')
    await new Promise(resolve => server.once('exit', resolve))
  }
}

try {
  ran(['demo'], 'coffee_depth.png')
  ran([name, '--model', 'tiny'], `${path.parse(name).name}_depth.png`)
  await seen('*Try it with a photo of a cup of coffee*', 1, page => page.click('#demo'))
  await seen('*Choose images*, and a photo in the dialogue', 2, async page => {
    const [dialogue] = await Promise.all([page.waitForEvent('filechooser'), page.click('#choose')])
    await dialogue.setFiles(path.join(folder, name))
  })
  console.log(`| command | clicks | seconds |\n| --- | --- | --- |\n${rows.join('\n')}\n\n${cpus().length} cores, load ${loadavg()[0].toFixed(0)}`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
