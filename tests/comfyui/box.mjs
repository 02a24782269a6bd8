// Sets points and boxes on *Depth Mask* in ComfyUI's page, with a mouse, a finger and keys, and prints as JSON what the node then holds:
//   PW=.../playwright-core/index.mjs node box.mjs SERVER PICTURE NODES2 SHOTS
// PICTURE lies in the server's input folder; NODES2 is "true" for Nodes 2.0; SHOTS is a folder for screenshots, or empty.
import path from 'node:path'
import { openPage, placeNode, run as runGraph, start } from './page.mjs'

const [server, picture, nodes2, shots] = process.argv.slice(2)
const { browser, page, errors } = await openPage(server, {
  'Comfy.VueNodes.Enabled': nodes2 === 'true', 'Comfy.RightSidePanel.IsOpen': false, 'Comfy.Workflow.Persist': false,
}, { timeout: 200000, context: { hasTouch: true } })
const report = { errors }

await start(page, server, 'DepthNormal_DepthMask')
await page.evaluate(async picture => {
  window.mask = () => window.find('DepthMask')
  window.view = () => window.viewOf(window.mask())
  window.app.graph.clear()
  // The photo's brightness is as good a depth map as any.
  const image = window.add('DepthNormal_DemoImage'), mask = window.add('DepthNormal_DepthMask', 400)
  image.widgets[0].value = picture
  for (const name of ['image', 'depth']) image.connect(0, mask, window.input(mask, name))
  mask.setSize([380, 900])
  await window.rest(1000)
}, picture)
report.before = await page.evaluate(() => window.view().view.empty.textContent)

const rest = time => page.evaluate(time => window.rest(time), time)
/** Brings the node to its place on the page, which a run and an undo change. */
async function centre() {
  await placeNode(page, 'mask', 0.9, 930)
  await rest(600)
  area = await page.evaluate(() => {
    const { left, top, scale } = window.view().view.box(), { width, height } = window.view().view
    return { left, top, width: scale * width, height: scale * height }
  })
}
let area
const at = (x, y) => [area.left + x * area.width, area.top + y * area.height]

const run = async () => {
  await page.evaluate(() => { window.earlier = window.view().maps })
  const { kind } = await runGraph(page)
  if (kind === 'execution_success') await page.waitForFunction(() => window.view().maps !== window.earlier)
  await centre()
  return page.evaluate(kind => [kind, window.view().maps?.payload.text, window.view().view.line.textContent], kind)
}
report.first = await run()
/** What the widgets hold, what is said and whether something is drawn. */
const held = () => page.evaluate(async () => {
  await window.rest()
  const { view } = window.view(), { point_x: x, point_y: y, box_left: left, box_top: top, box_right: right, box_bottom: bottom } = window.view().widgets.values
  const { width, height } = view.overlay, drawn = view.overlay.getContext('2d').getImageData(0, 0, width, height).data
  const where = (column, row) => drawn[4 * (Math.min(height - 1, Math.round(row * height)) * width + Math.min(width - 1, Math.round(column * width))) + 3] > 0
  return {
    point: [x, y], box: [left, top, right, bottom], further: [window.view().widgets.values.more_points, window.view().widgets.values.not_points], line: view.line.textContent, marks: drawn.some((value, i) => i % 4 === 3 && value > 0),
    // The middles of the box's four sides, and what is inside it.
    sides: left >= 0 && [where(left, (top + bottom) / 2), where(right, (top + bottom) / 2), where((left + right) / 2, top), where((left + right) / 2, bottom)],
    inside: left >= 0 && where((left + right) / 2, (top + bottom) / 2), button: view.bar.querySelector('button').style.display !== 'none',
  }
})
const drag = async (from, to, between = async () => {}) => {
  await page.mouse.move(...at(...from))
  await page.mouse.down()
  await page.mouse.move(...at((from[0] + to[0]) / 2, (from[1] + to[1]) / 2))
  await page.mouse.move(...at(...to))
  await between()
  await page.mouse.up()
  await page.mouse.move(5, 500)
}
const click = async (...place) => { await page.mouse.click(...at(...place)); await page.mouse.move(5, 500); await rest(500) }
const shoot = name => shots && page.screenshot({ path: path.join(shots, `${nodes2 === 'true' ? 'nodes2' : 'canvas'}-${name}.png`) })

await click(0.3, 0.4)
report.clicked = await held()
await drag([0.8, 0.9], [0.2, 0.3])
report.dragged = await held()
await shoot('box')
report.boxed = await run()
report.after = await held()
await shoot('boxed')
await drag([0.5, 0.5], [0.9, 1.4])
report.beyond = await held()
await page.keyboard.press('Control+z')
await rest(800)
await page.waitForFunction(() => window.view()?.maps) // an undo makes the node anew
report.undone = await held()
await centre()
await click(0.6, 0.5)
report.again = await held()
for (const [key, ...place] of [['Shift', 0.7, 0.6], ['Shift', 0.2, 0.3], ['Alt', 0.9, 0.9]]) {
  await page.keyboard.down(key)
  await click(...place)
  await page.keyboard.up(key)
}
report.further = await held()
await shoot('points')
await drag([0.4, 0.4], [0.404, 0.7])
report.thin = await held()

// Keys: the image has the focus.
await page.keyboard.press('Alt+ArrowRight')
report.keyed = await held()
await page.keyboard.press('Alt+Shift+ArrowDown')
await page.keyboard.press('ArrowLeft')
report.moved = await held()
for (let i = 0; i < 12; i++) await page.keyboard.press('Shift+ArrowUp')
report.stopped = await held()
await page.keyboard.press('Escape')
report.escaped = await held()
await page.keyboard.press('ArrowRight')
report.point = await held()
await drag([0.2, 0.2], [0.7, 0.7], () => page.keyboard.press('Escape'))
report.given_up = await held()

await drag([0.2, 0.2], [0.7, 0.7])
await page.mouse.dblclick(...at(0.5, 0.5))
await page.mouse.move(5, 500)
report.doubled = await held()

// A finger, by the browser's own events.
const touch = await page.context().newCDPSession(page)
const finger = (type, ...place) => touch.send('Input.dispatchTouchEvent', { type, touchPoints: place.length ? [{ x: at(...place)[0], y: at(...place)[1] }] : [] })
await finger('touchStart', 0.1, 0.2)
for (const share of [0.2, 0.4, 0.6]) await finger('touchMove', 0.1 + share, 0.2 + share)
await finger('touchEnd')
report.touched = await held()
await finger('touchStart', 0.5, 0.5)
await finger('touchEnd')
report.tapped = await held()

// A second finger during a drag.
const fingers = (type, ...places) => touch.send('Input.dispatchTouchEvent', { type, touchPoints: places.map((place, id) => ({ x: at(...place)[0], y: at(...place)[1], id })) })
await drag([0.1, 0.2], [0.7, 0.8])
await fingers('touchStart', [0.3, 0.3])
await fingers('touchMove', [0.4, 0.5])
await fingers('touchStart', [0.4, 0.5], [0.8, 0.2])
await fingers('touchMove', [0.3, 0.5], [0.9, 0.3])
await fingers('touchEnd')
report.pinched = await held()
await centre()

// A side that another node gives.
await drag([0.2, 0.2], [0.7, 0.7])
await page.evaluate(async () => {
  window.add('PrimitiveFloat').connect(0, window.mask(), window.input(window.mask(), 'box_left'))
  await window.rest()
  window.view().grab({ x: 0.5, y: 0.5 }, { clientX: 0, clientY: 0 })
})
report.linked = await held()
await page.evaluate(() => window.view().view.stage.focus())
await page.keyboard.press('ArrowRight')
await page.keyboard.press('Alt+ArrowDown')
report.pressed = await held()

// A node that has a point alone: a drag moves it.
report.alone = await page.evaluate(async () => {
  const node = window.add('DepthNormal_DepthOfField')
  window.executed(node, window.view().maps.payload)
  const view = window.viewOf(node), values = () => [view.widgets.values.point_x, view.widgets.values.point_y]
  for (let i = 0; i < 100 && !view.maps; i++) await window.rest()
  view.grab({ x: 0.2, y: 0.3 }, {})
  const first = values()
  view.drag({ x: 0.6, y: 1.2 }, {})
  const second = values()
  view.clear()
  window.add('PrimitiveFloat').connect(0, node, window.input(node, 'point_x'))
  await window.rest()
  view.arrow(0, 1, {})
  return [first, second, values(), view.view.line.textContent]
})
await browser.close()
console.log(JSON.stringify(report))
