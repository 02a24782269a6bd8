// Uses the page of `depth-normal ui` as a person would, and prints as JSON what was seen:
//   PW=.../playwright-core/index.mjs node page.mjs ADDRESS SCENARIO FOLDER [FILE...]
// FOLDER takes what is downloaded.
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'

const [address, scenario, folder, ...files] = process.argv.slice(2)
const { chromium } = await import(process.env.PW)
// WebGL on the processor: the machine needs no graphics card.
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--enable-unsafe-swiftshader'] })
const report = { errors: [], foreign: [] }

async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1400, height: 860 }, locale: 'en-US', acceptDownloads: true, ...options })
  return visit(await context.newPage())
}

async function visit(page, place = address) {
  page.setDefaultTimeout(30000)
  page.on('pageerror', error => report.errors.push(error.message))
  page.on('console', message => { if (message.type() === 'error' && !/status of 4\d\d|ERR_FAILED|ERR_FILE_NOT_FOUND/.test(message.text())) report.errors.push(message.text()) })
  page.on('request', request => { if (!request.url().startsWith(new URL(address).origin) && !/^(data|blob):/.test(request.url())) report.foreign.push(request.url()) })
  await page.goto(place)
  await page.waitForSelector('body[data-ready]')
  return page
}

const texts = (page, places) => page.locator(places).allTextContents()
const states = page => page.$$eval('#jobs li', rows => rows.map(row => row.dataset.state))
const until = (page, state, count) => page.waitForFunction(
  ([state, count]) => document.querySelectorAll(`#jobs li[data-state=${state}]`).length >= count, [state, count], { timeout: 240000 }, // a hundred images, on a busy machine
)
const line = page => page.evaluate(() => document.querySelector('#stage span').textContent)
const choose = (page, ...names) => page.setInputFiles('#pick-files', names)
const overflows = page => page.evaluate(() => document.documentElement.scrollWidth > innerWidth)
const sum = page => page.evaluate(() => {
  const canvas = document.querySelector('#stage canvas'), { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  return data.reduce((sum, each) => (sum * 31 + each) % 1000000007, 0)
})

async function drop(page, names) {
  const sent = names.map(name => ({ name: path.basename(name), data: readFileSync(name).toString('base64') }))
  const transfer = await page.evaluateHandle(sent => {
    const transfer = new DataTransfer()
    for (const { name, data } of sent) transfer.items.add(new File([Uint8Array.from(atob(data), letter => letter.charCodeAt(0))], name))
    return transfer
  }, sent)
  await page.dispatchEvent('body', 'dragenter', { dataTransfer: transfer })
  report.overlay = await page.isVisible('#overlay')
  await page.dispatchEvent('body', 'drop', { dataTransfer: transfer })
}

const scenarios = {
  async drop() {
    const page = await open({ viewport: { width: 1366, height: 650 } })
    report.title = await page.title()
    report.address = page.url()
    await drop(page, files)
    await page.waitForSelector('#modes button')
    report.modes = await texts(page, '#modes button')
    report.notices = await texts(page, '#notices p')
    report.rows = await page.$eval('#jobs', list => list.clientHeight / list.scrollHeight)
    const stage = await page.locator('#stage').boundingBox()
    await page.mouse.move(stage.x + stage.width * 0.3, stage.y + stage.height * 0.25)
    await page.waitForTimeout(200)
    report.under = await line(page)
    report.sums = []
    for (const button of await page.locator('#modes button').all()) {
      await button.click()
      await page.waitForFunction(() => document.querySelector('#stage canvas').width > 0, null, { timeout: 120000 })
      await page.waitForTimeout(600)
      report.sums.push(await sum(page))
    }
    await page.click('#modes button')
    report.saved = {}
    const places = [], orders = [await texts(page, '#files button')]
    for (const link of await page.locator('#files button').all()) {
      const kind = await link.getAttribute('data-kind'), [download] = await Promise.all([page.waitForEvent('download'), link.click()])
      await download.saveAs(path.join(folder, `saved.${kind}`))
      report.saved[kind] = download.suggestedFilename()
      await page.waitForFunction(name => document.querySelector('#saved').textContent.endsWith(name), report.saved[kind])
      places.push(await page.textContent('#saved'))
      orders.push(await texts(page, '#files button'))
    }
    Object.assign(report, { places, orders })
    await page.waitForFunction(() => document.querySelector('#command').textContent.includes('html'))
    report.command = await page.textContent('#command')
    await page.click('#jobs li .drop')
    await page.waitForFunction(() => document.body.dataset.state === 'empty')
    report.empty = await page.isVisible('#drop')
  },

  // FILES are a photo, a file that is removed before its turn, a large file of another kind, and folders to drop.
  async unread() {
    const page = await open(), [photo, removed, large, folderOfImages, emptyFolder] = files, seen = count => page.waitForFunction(count => document.querySelectorAll('#notices p').length >= count, count)
    await page.route('**/api/upload**', async route => { rmSync(removed); await route.continue() }, { times: 1 })
    truncateSync(large, 600 * 2 ** 20)
    await choose(page, photo, removed, large)
    await seen(2)
    const input = await page.context().newCDPSession(page)
    const drop = async name => {
      const data = { items: [], files: [name], dragOperationsMask: 1 }, drag = type => input.send('Input.dispatchDragEvent', { type, x: 600, y: 300, data })
      do { // Chromium loses a drop that comes before the page's answer to what is dragged; then the overlay stays
        await drag('dragEnter')
        await drag('dragOver')
        await page.waitForSelector('#overlay', { state: 'visible' })
        await drag('drop')
        await page.waitForSelector('#overlay', { state: 'hidden', timeout: 3000 }).catch(() => {})
      } while (await page.isVisible('#overlay'))
    }
    await drop(folderOfImages)
    await until(page, 'done', 2)
    await drop(emptyFolder)
    await seen(3)
    report.notices = await texts(page, '#notices p')
  },

  async many() {
    const page = await open()
    await page.setInputFiles('#pick-folder', files[0])
    await until(page, 'done', 3)
    // The page answers while it works.
    const began = Date.now()
    await page.selectOption('#coding', 'directx')
    await page.locator('#jobs li').nth(1).click()
    await page.waitForSelector('#modes button')
    report.answer = (Date.now() - began) / 1000
    await until(page, 'done', 100)
    report.notices = await texts(page, '#notices p')
    report.rows = await page.locator('#jobs li').count()
    report.heading = await page.textContent('#queue-title')
    report.overflow = await overflows(page)
  },

  async tabs() {
    const page = await open(), other = await visit(await page.context().newPage())
    await page.check('#refine') // long enough for what follows
    await choose(page, ...files)
    await until(other, 'running', 1)
    await other.waitForFunction(count => document.querySelectorAll('#jobs li').length === count, files.length)
    await page.click('#wait-actions button')
    await until(other, 'cancelled', 1)
    await other.click('#cancel-all')
    await until(page, 'cancelled', files.length)
    report.actions = await texts(page, '#wait-actions button')
    await page.reload()
    await page.waitForSelector('body[data-ready]')
    report.reloaded = await states(page)
    report.kept = await page.isChecked('#refine')
    await choose(page, files[0])
    await until(page, 'running', 1)
    await page.reload()
    await until(page, 'done', 1)
    await until(other, 'done', 1)
    report.names = [await texts(page, '#jobs .name'), await texts(other, '#jobs .name')]
    await other.locator('#jobs li').nth(1).click()
    await other.reload()
    await other.waitForSelector('#jobs li[aria-selected=true]')
    report.chosen = await texts(other, '#jobs li[aria-selected=true] .name')
  },

  async keyboard() {
    const page = await open(), focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent)
    const to = async wanted => {
      for (let i = 0; i < 40 && await focus() !== wanted; i++) await page.keyboard.press('Tab')
      return await focus() === wanted
    }
    report.reached = [await to('model'), await to('demo')]
    await page.keyboard.press('Enter')
    await page.waitForSelector('#modes button')
    await choose(page, files[0])
    await until(page, 'done', 2)
    report.options = await page.$$eval('#jobs li', rows => rows.map(row => [row.querySelector('.name').textContent, ...[...row.querySelectorAll('button, a, [tabindex]')].map(each => each.outerHTML)]))
    report.described = await page.evaluate(() => document.getElementById(document.getElementById('jobs').getAttribute('aria-describedby')).textContent)
    report.reached.push(await to('jobs'))
    await page.keyboard.press('ArrowDown')
    await page.waitForFunction(() => document.querySelectorAll('#jobs li')[1].ariaSelected === 'true' && document.querySelector('#modes button'))
    const ring = () => page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle)
    report.rings = [await ring()]
    report.reached.push(await to('Slider'))
    await page.keyboard.press('Enter')
    await page.waitForTimeout(300)
    const before = await sum(page)
    await page.keyboard.press('ArrowRight')
    report.slid = await sum(page) !== before
    report.rings.push(await ring())
    report.named = await page.$eval('#stage [tabindex]', stage => [stage.role, stage.ariaLabel])
    await page.click('#modes button')
    await page.locator('#stage').click()
    report.rings.push(await ring())
    report.reached.push(await to('EXR'), await to('command'), await to('jobs'))
    await page.keyboard.press('Delete')
    await page.waitForFunction(() => document.querySelectorAll('#jobs li').length === 1)
    report.left = await texts(page, '#jobs .name')
  },

  async narrow() {
    for (const [locale, colorScheme] of [['ja-JP', 'dark'], ['zh-CN', 'light']]) {
      const page = await open({ viewport: { width: 380, height: 800 }, locale, colorScheme })
      const seen = { language: await page.evaluate(() => document.documentElement.lang), overflow: [await overflows(page)], hero: await page.textContent('#drop h2') }
      await choose(page, ...files)
      await until(page, 'done', 1)
      await page.waitForSelector('#modes button')
      await page.waitForSelector('#notices p')
      await until(page, 'failed', 1)
      seen.failed = await page.textContent('#jobs [data-state=failed] .state')
      await page.waitForTimeout(300)
      seen.broken = await page.$$eval('#jobs img', images => images.filter(image => image.complete && !image.naturalWidth).map(image => image.src))
      seen.overflow.push(await overflows(page))
      Object.assign(seen, { modes: await texts(page, '#modes button'), notice: await page.textContent('#notices p'), state: await page.textContent('#jobs .state') })
      // Nothing moves away from below the pointer as the list loses the focus.
      await page.focus('#jobs')
      await page.click('#modes button:nth-child(5)')
      await page.waitForSelector('#controls .keep:not([hidden])')
      seen.overflow.push(await overflows(page))
      seen.layouts = await texts(page, '#controls option')
      seen.labels = await texts(page, '#controls label')
      await page.click('#modes button:nth-child(4)')
      seen.pressed = await page.getAttribute('#modes button:nth-child(4)', 'aria-pressed')
      // Whatever is English in it is a name.
      seen.english = await page.evaluate(() => [...document.querySelectorAll('[data-t], [data-t-label]')].map(each => each.dataset.tLabel ? each.ariaLabel : each.textContent).filter(text => /[a-z]{3}/.test(text.replace('Delete', ''))))
      report[locale] = seen
    }
  },

  async previews() {
    const page = await open(), mode = name => page.click(`#modes button:text-is("${name}")`), ready = () => page.waitForSelector('#controls .keep:not([hidden])')
    const field = name => page.locator(`#controls label:has-text("${name}") input`), size = () => page.$eval('#stage canvas', ({ width, height }) => [width, height])
    const made = () => page.waitForFunction(() => document.querySelector('#stage canvas').width > 0)
    await choose(page, files[0])
    await page.waitForSelector('#modes button')
    report.command = [await page.textContent('#command')]
    await mode('Stereo')
    await ready()
    await made()
    report.layouts = await texts(page, '#controls select option')
    report.sizes = { wiggle: await size() }
    // The eyes in turn.
    const eyes = new Set()
    for (let i = 0; i < 12; i++) { eyes.add(await sum(page)); await page.waitForTimeout(80) }
    report.eyes = eyes.size
    report.sums = {}
    for (const layout of ['anaglyph', 'full-sbs', 'half-tb']) {
      const before = await page.getAttribute('#controls .keep', 'data-id')
      await page.selectOption('#controls select', layout)
      await page.waitForFunction(before => { const link = document.querySelector('#controls .keep'); return !link.hidden && link.dataset.id !== before }, before).catch(() => {})
      await page.waitForTimeout(400)
      report.sums[layout] = await sum(page)
      report.sizes[layout] = await size()
    }
    await page.selectOption('#controls select', 'anaglyph')
    await page.waitForTimeout(800)
    // An arrow key on the image is a step of the slider.
    await page.focus('#stage [tabindex]')
    await page.keyboard.press('ArrowRight')
    await page.waitForFunction(() => document.querySelector('#command').textContent.includes('--divergence 2.5'))
    await ready()
    await page.waitForTimeout(300)
    report.command.push(await page.textContent('#command'))
    report.deeper = await sum(page) !== report.sums.anaglyph
    const [stereo] = await Promise.all([page.waitForEvent('download'), page.click('#controls .keep')])
    await stereo.saveAs(path.join(folder, 'stereo.png'))
    report.saved = [stereo.suggestedFilename()]
    await mode('Parallax')
    await ready()
    await made()
    report.command.push(await page.textContent('#command'))
    report.sizes.parallax = await size()
    const frames = new Set()
    for (let i = 0; i < 8; i++) { frames.add(await sum(page)); await page.waitForTimeout(120) }
    report.frames = frames.size
    await page.click('#controls button:text-is("Pause")')
    await page.waitForTimeout(200)
    const paused = await sum(page)
    await page.waitForTimeout(300)
    report.stands = await sum(page) === paused
    const [clip] = await Promise.all([page.waitForEvent('download'), page.click('#controls .keep')])
    await clip.saveAs(path.join(folder, 'parallax.mp4'))
    report.saved.push(clip.suggestedFilename())
    // A click leaves the lamp where it is, so that the pointer can go to the button.
    await mode('Light')
    const lit = await page.locator('#stage canvas').first().boundingBox(), command = () => page.textContent('#command')
    await page.mouse.click(lit.x + lit.width / 2, lit.y + lit.height / 3)
    await page.waitForFunction(() => document.querySelector('#command').textContent.includes('--point 0.5'))
    report.command.push(await command())
    const [relit] = await Promise.all([page.waitForEvent('download'), page.click('#controls .keep')])
    await relit.saveAs(path.join(folder, 'relight.png'))
    report.saved.push(relit.suggestedFilename())
    report.stayed = await command() === report.command.at(-1)
    await mode('Slider')
    report.command.push(await page.textContent('#command'))
    // Of the next image the same is seen, with the same settings.
    await mode('Stereo')
    await choose(page, files[1])
    await until(page, 'done', 2)
    await page.locator('#jobs li').nth(1).click()
    await page.waitForFunction(() => /--layout anaglyph --divergence 2.5/.test(document.querySelector('#command').textContent))
    await ready()
    report.pressed = await texts(page, '#modes button[aria-pressed=true]')
  },

  // A move through a large image takes long enough to be cancelled.
  async halted() {
    const page = await open()
    await choose(page, files[0])
    await page.waitForSelector('#modes button')
    await page.click('#modes button:text-is("Parallax")')
    await page.selectOption('#controls label:last-of-type select', '1920')
    await page.waitForFunction(() => document.querySelector('#controls progress').value > 0)
    await page.click('#controls button:text-is("Cancel")')
    await page.waitForSelector('#controls button:text-is("Try again"):not([hidden])')
    report.said = await page.textContent('#stage')
    await page.selectOption('#controls label:last-of-type select', '960')
    await page.waitForSelector('#controls .keep:not([hidden])', { timeout: 120000 })
  },

  async film() {
    const page = await open()
    await choose(page, ...files)
    await until(page, 'done', 1)
    await page.waitForFunction(() => [...document.querySelectorAll('#stage video')].filter(video => video.readyState >= 2).length === 2)
    report.films = await texts(page, '#stage figcaption')
    report.saves = await texts(page, '#files button')
  },

  // FILES are what the browser is started with, a photo, and the address of a server of somebody else, on another port.
  async alone() {
    const [start, photo, foreign] = files, { origin } = new URL(address)
    const context = await browser.newContext({ locale: 'en-US', acceptDownloads: true })
    await context.addCookies([{ name: 'theme', value: '{"dark": true}', url: origin }, { name: 'long', value: 'x'.repeat(4000), url: origin }])
    const page = await visit(await context.newPage(), `file://${start}`)
    report.address = page.url()
    await choose(page, photo)
    await until(page, 'done', 1)
    await page.waitForFunction(() => document.querySelector('#jobs img').naturalWidth > 1)
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#files [data-kind=depth]')])
    report.saved = download.suggestedFilename()
    report.download = download.url()
    await page.reload()
    await until(page, 'done', 1)
    // A second tab has the token from the first; somebody else's browser has none.
    const second = await visit(await context.newPage(), origin)
    report.second = await texts(second, '#jobs .name')
    const stranger = await visit(await browser.newContext({ locale: 'en-US' }).then(context => context.newPage()), origin)
    await stranger.waitForSelector('body[data-state=locked]')
    report.stranger = [await stranger.textContent('#gone'), await stranger.isVisible('#app')]
    // What a page of another port gets, in the same tab of the same browser.
    await second.goto(foreign)
    report.foreign = []
    report.taken = await second.evaluate(async ({ origin, download, job }) => {
      const refused = work => work.then(() => 'taken', () => 'refused')
      const heard = new Promise(resolve => {
        const tabs = new BroadcastChannel('depth-normal token')
        tabs.addEventListener('message', ({ data }) => resolve(data))
        tabs.postMessage('')
        setTimeout(resolve, 1000, 'nothing')
      })
      const loaded = (name, src) => new Promise((resolve, reject) => document.body.append(Object.assign(document.createElement(name), { src, onload: resolve, onerror: reject })))
      return {
        stored: sessionStorage.length,
        heard: await heard,
        state: await refused(fetch(`${origin}/api/state`, { credentials: 'include' })),
        cancel: await refused(fetch(`${origin}/api/cancel`, { method: 'POST', mode: 'no-cors', credentials: 'include' })),
        script: await refused(import(`${origin}/page/server.js`)),
        image: await refused(loaded('img', `${origin}/api/jobs/${job}/thumbnail`)),
        signed: await refused(loaded('img', download)),
      }
    }, { origin, download: report.download, job: await page.getAttribute('#jobs li', 'data-id') })
    const frame = await second.evaluate(origin => new Promise(resolve => {
      const frame = Object.assign(document.createElement('iframe'), { src: origin, onload: () => { try { resolve(frame.contentDocument ? 'open' : 'closed') } catch { resolve('closed') } } })
      document.body.append(frame)
    }), origin)
    report.taken.frame = frame
    report.cookies = (await context.cookies()).map(({ name }) => name).sort()
    // Its own page still works.
    await page.click('#files [data-kind=normals]')
    report.states = await states(page)
    report.errors = report.errors.filter(error => !/127\.0\.0\.1|Failed to load|refused to connect|frame-ancestors/.test(error))
  },

  // FILES are a photo, and the file that an export would replace, which somebody writes meanwhile.
  async replaced() {
    const page = await open({ viewport: { width: 1366, height: 650 } }), [photo, mine] = files, html = '#files [data-kind=html]'
    await choose(page, photo)
    await until(page, 'done', 1)
    await page.waitForSelector('#modes button')
    writeFileSync(mine, 'mine')
    await page.click(html)
    await page.waitForSelector('dialog[open]')
    report.question = await page.textContent('dialog p')
    report.choices = await texts(page, 'dialog button')
    await page.keyboard.press('Escape')
    await page.waitForSelector('dialog', { state: 'detached' })
    report.left = readFileSync(mine, 'utf8')
    await page.click(html)
    await page.click('dialog button:text-is("Cancel")')
    await page.waitForSelector('dialog', { state: 'detached' })
    report.cancelled = readFileSync(mine, 'utf8')
    await page.click(html)
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('dialog button:text-is("Replace")')])
    await download.saveAs(path.join(folder, 'saved.html'))
    report.notices = await texts(page, '#notices p')
  },

  // For docs/make_ui_screenshot.py; FOLDER is the image. What is of this computer alone stands there as anybody would have it.
  async screenshot() {
    const page = await open({ viewport: { width: 1400, height: 860 } })
    await page.click('#demo')
    await page.waitForSelector('#modes button')
    const stage = await page.locator('#stage').boundingBox()
    await page.mouse.move(stage.x + stage.width * 0.3, stage.y + stage.height * 0.25)
    await page.waitForTimeout(500)
    await page.evaluate(() => {
      document.querySelector('#folder bdi').textContent = '~/photos/depth-normal'
      document.querySelector('#command').textContent = 'depth-normal coffee.jpg --model tiny --also npz -o depth-normal'
    })
    await page.screenshot({ path: folder, type: 'jpeg', quality: 82 })
  },

  async gone() {
    const page = await open()
    await page.route('**/api/**', route => route.abort())
    await page.waitForSelector('#gone:not([hidden])')
    report.said = await page.textContent('#gone')
    await page.unroute('**/api/**')
    await page.waitForSelector('#gone', { state: 'hidden' })
  },
}

await scenarios[scenario]().catch(error => { console.error(error, JSON.stringify(report)); process.exitCode = 1 })
await browser.close()
console.log(JSON.stringify(report))
