// Drags the light on *Relight* in ComfyUI's page, looks at *Preview Geometry*, and prints as JSON what was seen:
//   PW=.../playwright-core/index.mjs node live.mjs SERVER WORKFLOW.json PICTURE NODES2 SHOTS FILES
// PICTURE lies in the server's input folder; NODES2 is "true" for Nodes 2.0; SHOTS is a folder for screenshots and the preview's pixels,
// FILES one with what `files.mjs` uploads.
import path from 'node:path'
import { seenOfFiles } from './files.mjs'
import { load, openPage, run as runGraph, start, workflowOf } from './page.mjs'

const [server, file, picture, nodes2, shots, files] = process.argv.slice(2)
const { browser, page, errors } = await openPage(server, {
  'Comfy.VueNodes.Enabled': nodes2 === 'true', 'Comfy.RightSidePanel.IsOpen': false,
}, { gpu: true })
const report = { errors }, workflow = workflowOf(file, picture)

await start(page, server)
await page.evaluate(() => {
  window.view = type => window.viewOf(window.find(type))
})
const values = () => page.evaluate(() => window.view('Relight').widgets.values)
const shoot = name => shots && page.screenshot({ path: path.join(shots, `${name}.png`) })

await load(page, workflow)
report.before = await page.evaluate(() => window.view('Relight').view.empty.textContent)
await runGraph(page)
await page.waitForFunction(() => window.view('Relight')?.frames > 0 && window.view('PreviewGeometry')?.maps)
await page.evaluate(() => window.rest())
const relight = workflow.nodes.find(node => node.type === 'DepthNormal_Relight')

// The preview at the light of the run, to be compared with the server's own picture.
report.preview = await page.evaluate(() => {
  const view = window.view('Relight'), data = window.pixels(view.view.canvas)
  return { width: view.maps.width, height: view.maps.height, rgba: btoa(Array.from(data, byte => String.fromCharCode(byte)).join('')) }
})

// From the pointer's move to the changed picture, in the page.
report.milliseconds = await page.evaluate(async () => {
  const view = window.view('Relight'), { stage } = view.view, times = []
  const at = (x, y) => { const { left, top, scale } = view.view.box(); return { clientX: left + x * scale * view.maps.width, clientY: top + y * scale * view.maps.height } }
  const send = (type, x, y) => stage.dispatchEvent(new PointerEvent(type, { ...at(x, y), button: 0, buttons: 1, pointerId: 1, isPrimary: true, bubbles: true, cancelable: true }))
  stage.setPointerCapture = () => {}
  send('pointerdown', 0.3, 0.3)
  await window.rest()
  for (let step = 0; step < 12; step++) {
    const before = window.pixels(view.view.canvas), frames = view.frames, start = performance.now()
    send('pointermove', 0.3 + 0.04 * step, 0.3 + 0.03 * step)
    while (view.frames === frames && performance.now() - start < 5000) await new Promise(requestAnimationFrame)
    const after = window.pixels(view.view.canvas)
    if (step) times.push({ took: performance.now() - start, changed: after.some((value, i) => value !== before[i]) })
  }
  send('pointerup', 0.74, 0.63)
  delete stage.setPointerCapture
  await window.rest()
  return times
})
report.dragged = await values()

// With a real mouse, and Shift for the depth.
await page.evaluate(() => window.rest())
const box = await page.evaluate(() => { const { left, top, scale } = window.view('Relight').view.box(), { width, height } = window.view('Relight').maps; return { left, top, width: scale * width, height: scale * height } })
const move = (x, y) => page.mouse.move(box.left + x * box.width, box.top + y * box.height)
await move(0.5, 0.5)
await page.mouse.down()
await move(0.25, 0.75)
await page.mouse.up()
await page.waitForFunction(light => window.view('Relight').widgets.values.light_x !== light, report.dragged.light_x).catch(() => {})
report.moused = await values()
await page.mouse.wheel(0, -100)
await page.waitForFunction(depth => window.view('Relight').widgets.values.light_depth !== depth, report.moused.light_depth).catch(() => {})
report.wheeled = await values()
await shoot('dragged')

// Typed into the widget, the light moves in the picture.
report.typed = await page.evaluate(async () => {
  const view = window.view('Relight'), before = window.pixels(view.view.canvas)
  const widget = window.find('Relight').widgets.find(widget => widget.name === 'light_x')
  widget.value = 0.9
  await window.rest()
  const after = window.pixels(view.view.canvas)
  return after.some((value, i) => value !== before[i])
})

// A sun: its handle sets the angles.
report.sun = await page.evaluate(async () => {
  const view = window.view('Relight')
  view.widgets.find('light').value = 'directional'
  view.drag({ x: 0.5, y: 0.5 - 0.23 }, {})
  await window.rest()
  return view.widgets.values
})

// What an undo and another tab do: the graph is made anew, and nothing runs.
const saved = await page.evaluate(() => window.app.graph.serialize())
report.saved = saved.nodes.find(node => node.type === 'DepthNormal_Relight').widgets_values
await page.evaluate(graph => window.app.loadGraphData(graph, false), saved)
report.restored = await page.waitForFunction(() => window.view('Relight')?.frames > 0, null, { timeout: 5000 }).then(() => true, () => false)

// From here on the run is of this tab.
await runGraph(page)

// The context is lost and comes back.
report.context = await page.evaluate(async () => {
  const view = window.view('Relight'), { gl } = view.scene.gpu, loss = gl.getExtension('WEBGL_lose_context')
  loss.loseContext()
  await window.rest()
  view.widgets.set({ azimuth: 10 })
  await window.rest()
  loss.restoreContext()
  await window.rest()
  const before = window.pixels(view.view.canvas)
  view.widgets.set({ azimuth: 190 })
  await window.rest()
  return window.pixels(view.view.canvas).some((value, i) => value !== before[i])
})

report.cut = await page.evaluate(() => { const { line } = window.view('PreviewGeometry').view; return line.scrollHeight > line.clientHeight + 1 })

// A node with a picture and nothing to set in it.
const shownBy = type => page.evaluate(async type => {
  const node = window.add(`DepthNormal_${type}`)
  window.executed(node, { ...window.view('Relight').maps.payload, text: 'half is lost after 7 m' })
  for (let i = 0; i < 100 && !window.view(type).maps; i++) await window.rest()
  const { view } = window.view(type), told = view.line.textContent
  window.app.graph.remove(node)
  return [view.width, told === 'half is lost after 7 m']
}, type)
report.plain = [await shownBy('Fog'), await shownBy('SkyMask')]

// Preview Geometry: its line, numbers under the pointer, the surface in 3D.
report.geometry = await page.evaluate(async () => {
  const view = window.view('PreviewGeometry'), tiles = view.tiles.length, line = view.view.line.textContent
  view.hover({ x: 0.1, y: 0.1 })
  const under = view.view.line.textContent
  // As large as it can be: in one row, one column or between.
  const { width, height } = view.view.area, { maps, columns } = view
  const fits = columns => Math.min(width / columns / maps.width, height / Math.ceil(tiles / columns) / maps.height)
  const enlarged = [1, 2, 3].every(other => fits(columns) >= fits(other)), places = view.tiles.map((_, place) => view.corner(place))
  const on = places.map(({ left, top }) => view.onTile({ x: (left + 10.5) / view.view.width, y: (top + 20.5) / view.view.height }))
  const same = on.every(({ x, y }) => Math.abs(x * maps.width - 10.5) < 0.01 && Math.abs(y * maps.height - 20.5) < 0.01)
  const beside = Boolean(tiles < columns * Math.ceil(tiles / columns) && view.onTile({ x: 0.9, y: 0.9 }))
  view.toggle()
  await window.rest()
  const first = window.pixels(view.view.canvas)
  view.drag.call(Object.assign(view, { last: { x: 0.5, y: 0.5 } }), { x: 0.6, y: 0.5 }, {})
  await window.rest()
  const second = window.pixels(view.view.canvas), empty = second.filter((value, i) => i % 4 === 0 && value === second[0]).length / (second.length / 4)
  return { tiles, enlarged, same, beside, line, under, next: view.next.ariaLabel, turned: second.some((value, i) => value !== first[i]), empty, triangles: view.scene.solid.triangles.length / 3 }
})
await shoot('geometry')

// Twenty nodes share one context; removed ones leave nothing in it.
report.scenes = await page.evaluate(async () => {
  const view = window.view('Relight'), { gpu } = view.scene, before = gpu.scenes.size
  const copies = Array.from({ length: 20 }, () => window.add('DepthNormal_Relight')), views = copies.map(window.viewOf)
  for (const node of copies) window.executed(node, view.maps.payload)
  for (let i = 0; i < 100 && !views.every(each => each.frames); i++) await window.rest()
  const made = gpu.scenes.size
  for (const node of copies) window.app.graph.remove(node)
  // A removed node keeps its image for a moment, in case an undo brings it back.
  for (let i = 0; i < 10 && gpu.scenes.size > before; i++) await window.rest()
  return { before, made, left: gpu.scenes.size, lit: views.every(each => each.scene === null && each.frames > 0) }
})
report.values = relight.widgets_values
report.files = await seenOfFiles(page, files, shoot)
await browser.close()
console.log(JSON.stringify(report))
