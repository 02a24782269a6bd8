// Lights an image by web/relight_scene.mjs in a real Chromium, and prints as JSON what it looks like:
//   PW=.../playwright-core/index.mjs node lamps.mjs SCENE.json
// SCENE holds `maps` as web/maps.mjs reads them, `looks`, and `shots`, lists of lamps that are lit one after the other.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const { chromium } = await import(process.env.PW)
const web = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'web')
// WebGL on the processor: the machine needs no graphics card.
const args = ['--no-sandbox', '--disable-gpu', '--enable-unsafe-swiftshader']
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args })
const page = await browser.newPage(), errors = []
page.on('pageerror', error => errors.push(error.message))
page.on('console', message => { if (message.type() === 'error' || /INVALID_/.test(message.text())) errors.push(message.text()) })
await page.route('http://pack.test/**', (route, request) => {
  const name = path.basename(new URL(request.url()).pathname)
  if (!name.endsWith('.mjs')) return route.fulfill({ contentType: 'text/html', body: '<!doctype html>' })
  return route.fulfill({ contentType: 'text/javascript', body: readFileSync(path.join(web, name)) })
})
await page.goto('http://pack.test/')
const shots = await page.evaluate(async ({ maps, looks, shots }) => {
  const [{ gpu }, { RelightScene }] = await Promise.all(['gl', 'relight_scene'].map(name => import(`http://pack.test/${name}.mjs`)))
  const { width, height } = maps, canvas = Object.assign(document.createElement('canvas'), { width, height })
  const scene = new RelightScene(gpu(), {
    ...maps,
    image: new Uint8ClampedArray(maps.image),
    normals: new Uint8Array(maps.normals),
    depth: new Float32Array(maps.depth),
    bits: new Uint8Array(maps.bits),
    thickness: new Uint8Array(maps.thickness),
  }, () => {})
  return shots.map(lamps => {
    scene.draw(lamps, looks, canvas)
    return [...canvas.getContext('2d').getImageData(0, 0, width, height).data]
  })
}, JSON.parse(readFileSync(process.argv[2])))
await browser.close()
console.log(JSON.stringify({ errors, shots }))
