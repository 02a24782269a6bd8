// What the pack adds to nodes that load, save and light, in ComfyUI's page; `live.mjs` calls it at its end.

import fs from 'node:fs'
import { run } from './page.mjs'

/** @param {any} page Of playwright. @param {string} folder With depth.npz, photo.png. @param {(name: string) => any} shoot */
export async function seenOfFiles(page, folder, shoot) {
  const report = {}
  await page.evaluate(() => {
    window.app.graph.clear()
    window.loader = window.add('DepthNormal_LoadGeometry', 80, 120)
    window.fileOf = () => window.loader.widgets.find(widget => widget.name === 'file')
    window.app.canvas.ds.reset()
  })
  report.before = await page.evaluate(() => [window.fileOf().value, ...window.fileOf().options.values])

  // A file by the button, another that holds nothing dropped on the node.
  await page.setInputFiles('input[data-depth-normal=upload]', `${folder}/depth.npz`)
  await page.waitForFunction(() => window.fileOf().value === 'depth.npz')
  const photo = [...fs.readFileSync(`${folder}/photo.png`)]
  report.dropped = await page.evaluate(photo => {
    const dataTransfer = new DataTransfer()
    dataTransfer.items.add(new File([new Uint8Array(photo)], 'photo.png', { type: 'image/png' }))
    return window.loader.onDragOver({ dataTransfer }) && window.loader.onDragDrop({ dataTransfer })
  }, photo)
  const toast = page.getByText('photo.png contains no depth or normals')
  await toast.first().waitFor()
  report.after = await page.evaluate(() => [window.fileOf().value, ...window.fileOf().options.values])

  // Before a run the node says what will be there, in whole.
  report.empty = await page.evaluate(async () => {
    window.saver = window.add('DepthNormal_SaveGeometry', 480, 120)
    const { empty } = window.viewOf(window.saver).view
    for (let i = 0; i < 50 && !empty.clientHeight; i++) await window.rest()
    return [empty.textContent, empty.clientHeight, empty.scrollHeight]
  })

  // What is saved is shown with its place.
  await page.evaluate(() => {
    window.loader.connect(0, window.saver, 0)
    window.saver.widgets.find(widget => widget.name === 'filename_prefix').value = 'shown/%width%x%height%_%Load Geometry.axes%'
  })
  await run(page)
  await page.waitForFunction(() => window.viewOf(window.saver).view.width > 0)
  report.saved = await page.evaluate(() => {
    const { width, height, line } = window.viewOf(window.saver).view
    return [width, height, line.textContent]
  })
  await shoot('files')

  // A lamp shows the widgets of its kind, keeps all values, and sends them all; its colour is picked.
  report.lamp = await page.evaluate(async () => {
    window.app.graph.clear()
    const other = window.LiteGraph.createNode('DepthNormal_Light'), spare = other.size[1] - other.computeSize()[1]
    const node = window.add('DepthNormal_Light', 80, 120), widget = name => node.widgets.find(each => each.name === name)
    const shown = () => node.widgets.filter(each => !each.hidden && !each.options.hidden).map(each => each.name).filter(name => !name.startsWith('$$'))
    await window.rest()
    const far = shown(), height = node.size[1]
    widget('light_x').value = 0.7
    widget('light').value = 'point'
    await window.rest()
    const near = shown(), saved = node.serialize().widgets_values
    const sent = Object.values((await window.app.graphToPrompt()).output)[0].inputs
    return { far, near, saved, sent, spare, taller: node.size[1] - height, kind: widget('colour').type, at: node.widgets.indexOf(widget('colour')) }
  })
  await page.waitForTimeout(300)
  report.rows = await page.evaluate(() => document.querySelector('[data-node-id]')?.innerText ?? '')
  await shoot('lamp')

  // The page's own search.
  report.search = await page.evaluate(() => {
    const { nodeSearchService } = window.app.extensionManager._p._s.get('nodeDef')
    const words = ['depth', 'depth map', 'normal', 'normal map', 'controlnet depth', 'z depth', 'displacement', 'height map', 'heightmap', 'pbr', 'z pass', 'controlnet preprocessor', '3d photo', 'point cloud', 'depth to normal', 'depth to normal map', 'normals from depth', 'video depth', 'mask', 'sky', 'segment', 'flip green channel', 'depth blur', 'depth anything v2', 'vr', '3d print', 'tiny', 'exr', 'moge', '深度推定', '単眼深度', 'ノーマルマップ', '单目深度', '法线贴图']
    return Object.fromEntries(words.map(word => [word, nodeSearchService.searchNode(word).map(each => each.name)]))
  })

  // The same as a user sees it.
  await page.evaluate(() => window.app.extensionManager.command.execute('Workspace.SearchBox.Toggle'))
  await page.locator('input:focus').waitFor()
  await page.keyboard.type('depth')
  const first = page.locator('[role=option]').filter({ hasText: 'Depth & Normals' }).first()
  await first.waitFor()
  await page.waitForTimeout(500)
  report.dialog = (await page.locator('[role=option]').allInnerTexts()).filter(Boolean)[0].split('\n')[0].trim()
  await shoot('search')
  await page.keyboard.press('Escape')
  return report
}
