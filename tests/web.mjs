// What web/*.mjs computes without a page; prints what is asserted nowhere else as JSON:
//   node web.mjs WEB PAYLOAD.json FOLDER      FOLDER holds the files that the payload names
import assert from 'node:assert'
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [web, payloadFile, folder] = process.argv.slice(2)
const load = name => import(pathToFileURL(path.join(web, name)))
const files = ['light.mjs', 'maps.mjs', 'saved_graphs.mjs', 'orbit_scene.mjs', 'words.mjs', 'geometry_view.mjs', 'search_order.mjs', 'box_view.mjs', 'node_widgets.mjs']
const [light, maps, saved, solid, words, geometry, search, boxes, own] = await Promise.all(files.map(load))

// The handle of a directional light and its angles are each other's inverse.
for (const [azimuth, elevation] of [[0, 90], [45, 0], [135, 40], [270, 10], [359, -45]]) {
  const angles = light.anglesAt(light.handleOf({ azimuth, elevation }, 1.5), 1.5)
  assert.strictEqual(angles.elevation, elevation)
  if (elevation < 90) assert.strictEqual(angles.azimuth, azimuth)
}
assert.deepStrictEqual(light.colourOf('#f00'), [1, 0, 0])
assert.deepStrictEqual(['#F80', ' #ff8800', '#ff880080', '255, 136,0', '0,0,256', 'f80', ''].map(light.hexOf), ['#ff8800', '#ff8800', '#ff8800', '#ff8800', null, null, null])
assert.strictEqual(light.colourOf('no colour'), null)
assert.ok(light.depthBy(0.05, -5) === 0.05 && light.depthBy(1, 1) === 1.1)

// Points as text widgets hold them; what is no point is left out.
assert.deepStrictEqual(boxes.pointsOf(' 0.5,0.25  1,0 a,b 0.5 1, ,0.5 , '), [{ x: 0.5, y: 0.25 }, { x: 1, y: 0 }])
for (const none of ['', undefined]) assert.deepStrictEqual(boxes.pointsOf(none), [])

// A click sets the first point; with Shift or Alt it sets a further one, and one without either begins anew.
const sides = ['box_left', 'box_top', 'box_right', 'box_bottom'], numbers = ['point_x', 'point_y', ...sides].map(name => ({ name, value: -1, options: { min: -1, max: 1 } }))
const texts = ['more_points', 'not_points'].map(name => ({ name, value: '', options: {} })), select = { name: 'select', value: 'surface', options: {} }
const view = Object.create(boxes.BoxView.prototype), size = { width: 2000, height: 1000 }
Object.assign(view, { widgets: new own.NodeWidgets({ widgets: [...numbers, ...texts, select] }), maps: size, view: { pixelsPerScreen: 4 }, draw() {} })
const press = (x, y, keys = {}) => { view.grab({ x, y }, { clientX: 0, clientY: 0, timeStamp: 0, ...keys }); view.drop(); return view.selected }
assert.deepStrictEqual(press(0.5, 0.25, { shiftKey: true }), { x: 0.5, y: 0.25, more: '', not: '' })
press(0.1, 0.2, { shiftKey: true })
press(0.9, 1.2, { altKey: true })
assert.deepStrictEqual(press(0.3, 0.4, { shiftKey: true }), { x: 0.5, y: 0.25, more: '0.1,0.2 0.3,0.4', not: '0.9,1' })
view.giveUp()
assert.strictEqual(view.selected.more, '0.1,0.2')
assert.deepStrictEqual(press(0.7, 0.7), { x: 0.7, y: 0.7, more: '', not: '' })
press(0.6, 0.6, { altKey: true })
view.setBox([0.1, 0.1, 0.9, 0.9])
const box = [0.1, 0.1, 0.9, 0.9]
assert.deepStrictEqual(view.selected, { box, more: '', not: '' })

// Further points correct what is in a box, which stays; beside it they would mean nothing.
select.value = 'surface'
press(0.5, 0.5, { altKey: true })
for (const keys of [{ shiftKey: true }, { altKey: true }]) press(0.95, 0.5, keys)
assert.deepStrictEqual(press(0.3, 0.9, { shiftKey: true }), { box, more: '0.3,0.9', not: '0.5,0.5' })
assert.strictEqual(select.value, 'surface')
assert.deepStrictEqual(press(0.5, 0.5, { altKey: true }), { box, more: '0.3,0.9', not: '' })
assert.deepStrictEqual(press(0.5, 0.5), { x: 0.5, y: 0.5, more: '', not: '' })

// Arrow keys move the box, and what corrects it stays, but for points of the object that are no longer in it.
view.setBox([0.1, 0.1, 0.8, 0.8])
press(0.11, 0.3, { shiftKey: true })
press(0.5, 0.5, { shiftKey: true })
press(0.3, 0.3, { altKey: true })
view.isGiven = () => false
view.arrow(2, 0, {})
assert.deepStrictEqual([view.selected.more, view.selected.not], ['0.5,0.5', '0.3,0.3'])
view.arrow(0, 1, { altKey: true })
assert.deepStrictEqual([view.selected.more, view.selected.not], ['0.5,0.5', '0.3,0.3'])
view.setBox([0.1, 0.1, 0.9, 0.9])
assert.deepStrictEqual([view.selected.more, view.selected.not], ['', ''])

// Without a point or a box there is no object yet: Alt does nothing.
view.clear()
assert.strictEqual(press(0.5, 0.5, { altKey: true }), null)

// A surface cannot leave out points, so that Alt selects the object, too, until it is given up.
press(0.5, 0.5)
select.value = 'surface'
press(0.6, 0.6, { shiftKey: true })
assert.strictEqual(select.value, 'surface')
press(0.9, 0.9, { altKey: true })
assert.strictEqual(select.value, 'object')
view.giveUp()
assert.deepStrictEqual([select.value, view.selected.more, view.selected.not], ['surface', '0.6,0.6', ''])
press(0.9, 0.9, { altKey: true })

// Within 8 pixels of the screen, here 0.016 of the width and 0.032 of the height, a further point is removed, whichever key added it.
press(0.8, 0.2, { altKey: true })
assert.deepStrictEqual(press(0.615, 0.6, { altKey: true }), { x: 0.5, y: 0.5, more: '', not: '0.9,0.9 0.8,0.2' })
assert.strictEqual(press(0.9, 0.93, { shiftKey: true }).not, '0.8,0.2')
view.giveUp()
assert.strictEqual(view.selected.not, '0.9,0.9 0.8,0.2')
assert.strictEqual(press(0.917, 0.9, { altKey: true }).not, '0.9,0.9 0.8,0.2 0.917,0.9')
assert.strictEqual(press(0.91, 0.9, { altKey: true }).not, '0.9,0.9 0.8,0.2', 'the nearest')
for (const keys of [{ shiftKey: true }, { altKey: true }]) {
  for (let i = 0; i < 2; i++) press(0.2, 0.2, keys)
  press(0.51, 0.5, keys) // on the first point
  assert.deepStrictEqual(view.selected, { x: 0.5, y: 0.5, more: '', not: '0.9,0.9 0.8,0.2' })
}

// Only files that this pack wrote into the temp folder are asked for.
const name = `depth_normal_${'a'.repeat(32)}.png`
assert.ok(maps.viewPath({ filename: name, subfolder: '', type: 'temp' }).includes(name))
for (const file of [
  { filename: name, subfolder: '', type: 'output' },
  { filename: name, subfolder: '..', type: 'temp' },
  { filename: '../secret.png', subfolder: '', type: 'temp' },
  { filename: `${name}&type=input`, subfolder: '', type: 'temp' },
  null,
]) assert.throws(() => maps.viewPath(file))

// A floor that reaches far away is one surface; a step is two, and the farther one goes on behind the nearer one, from where it is seen.
const floor = { width: 64, height: 64, quantity: 'metric_depth', intrinsics: [60, 60, 31.5, -4], depth: Float32Array.from({ length: 4096 }, (_, i) => 90 / ((i >> 6) + 4)) }
assert.strictEqual(solid.solidOf(floor).triangles.length, 6 * 63 * 63)
const step = { ...floor, depth: Float32Array.from({ length: 4096 }, (_, i) => (i & 63) < 32 ? 1 : 3) }
const stepped = solid.solidOf(step), behind = [...stepped.triangles].slice(6 * 63 * 62)
const places = new Set(behind.map(at => at < 4096 ? at & 63 : stepped.points[3 * at + 2]))
assert.deepStrictEqual([...places].sort((one, other) => one - other), [-3, 32], 'all of it is as far as the farther part, and joined to it')
assert.strictEqual(stepped.triangles.length, 6 * 63 * (62 + 32), 'behind all of the nearer part')
assert.strictEqual(solid.solidOf({ ...floor, depth: new Float32Array(4096).fill(NaN) }).triangles.length, 0)

// Where no camera is known, scenes get an assumed one, its middle in the image's.
assert.deepStrictEqual(maps.joinedMaps({}, { width: 40, height: 20, image: null }, null).intrinsics.slice(2), [19.5, 9.5])

// Without metres the pointer shows how near a pixel is, whichever way the numbers run; Relight's depth has the unit of its widget.
const ramp = Float32Array.from({ length: 101 }, (_, i) => 5 * i - 144), flat = { width: 101, height: 1, payload: {}, depth: ramp }
const said = (quantity, x, payload = {}) => maps.describe({ ...flat, quantity, payload }, x, 0)
assert.deepStrictEqual([0, 0.5, 1].map(x => said('disparity', x)), [0, 50, 100].map(near => `relative ${near} (0 far, 100 near)`))
assert.deepStrictEqual([0, 1].map(x => said('relative_depth', x)), [100, 0].map(near => `relative ${near} (0 far, 100 near)`))
assert.strictEqual(said('metric_depth', 1, { unit: 'depth' }), 'depth 356')
assert.strictEqual(said('disparity', 0, { unit: 'percent' }), '100 % from near to far', 'as the widgets of effects count')

// The mask is shown where it says something: a fully valid one would take the place of the maps.
const bits = Uint8Array.from({ length: 4096 }, () => 3)
assert.strictEqual(geometry.tilesOf({ ...floor, bits }).length, 1)
assert.strictEqual(geometry.tilesOf({ ...floor, bits: bits.with(7, 2) }).length, 2)
assert.strictEqual(geometry.tilesOf({ ...floor, bits: bits.with(7, 2) })[1][4 * 7], 0)
assert.strictEqual(geometry.tilesOf({ ...floor, depth: null, bits }).length, 1)

// The one node that gives all maps is found first, behind what is called as was typed; the others keep their order.
const found = ['Depth Mask', 'Depth', 'Depth & Normals', 'Fog'].map(title => ({ name: title === 'Depth & Normals' ? 'DepthNormal_DepthAndNormals' : title, display_name: title }))
const titles = query => search.inOrder(found, query).map(node => node.display_name)
assert.deepStrictEqual(titles(' Depth '), ['Depth', 'Depth & Normals', 'Depth Mask', 'Fog'])
assert.deepStrictEqual(titles('normal  map'), ['Depth & Normals', 'Depth Mask', 'Depth', 'Fog'])
for (const query of ['fog', 'depth mask', 'constructor', '']) assert.strictEqual(search.inOrder(found, query), found)
assert.deepStrictEqual(search.inOrder(found.slice(0, 2), 'depth'), found.slice(0, 2))
assert.deepStrictEqual([...'深度推定 単眼深度 ノーマルマップ 单目深度 法线贴图'.split(' '), 'Monocular Depth'].map(query => titles(query)[0]), Array(6).fill('Depth & Normals'))
// The one node of a model stands before the node of its name that needs a loader.
const anything = ['DepthNormal_RunDepthAnythingV2', 'DepthNormal_DepthAnythingV2'].map(name => ({ name, display_name: 'Depth Anything V2' }))
assert.strictEqual(search.inOrder(anything, 'depth anything v2')[0].name, 'DepthNormal_DepthAnythingV2')
// Among core's mask nodes ours moves to the fourth place, and nowhere where it stands before that.
const masks = ['a', 'b', 'c', 'd', 'DepthNormal_DepthMask'].map(name => ({ name }))
assert.strictEqual(search.inOrder(masks, 'mask').findIndex(({ name }) => name === 'DepthNormal_DepthMask'), 3)
assert.strictEqual(search.inOrder(masks.slice(2), 'mask').length, 3)
assert.strictEqual(search.inOrder(masks.slice(2), 'mask').at(-1).name, 'DepthNormal_DepthMask')

const read = async view => {
  const bytes = fs.readFileSync(path.join(folder, new URLSearchParams(view.split('?')[1]).get('filename')))
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
}
// Words in the page's language; English where there is none.
const inLanguage = (locale, tell) => {
  globalThis.app = { extensionManager: { setting: { get: () => locale } } }
  const told = tell()
  delete globalThis.app
  return told
}
assert.strictEqual(words.translated('{0} comes from another node', 'x'), 'x comes from another node')
assert.strictEqual(inLanguage('zh', () => words.translated('{0} comes from another node', 'x')), 'x 来自另一个节点')
assert.strictEqual(inLanguage('ja', () => words.translatedParts('a-1 · on disk, 99 MB · metres + normals · MIT')), 'a-1 · ダウンロード済み, 99 MB · メートル + 法線 · MIT')
assert.deepStrictEqual(['fr', undefined].map(locale => inLanguage(locale, () => words.translated('no depth'))), ['no depth', 'no depth'])

// A graph of Video Depth Anything's first version, whose node gave images and their rate; as a graph and as a subgraph's definition.
const first = () => ({
  last_node_id: 4, last_link_id: 15,
  nodes: [
    { id: 1, type: 'Load', pos: [-400, 20], outputs: [{ links: [11] }, { links: [12] }] },
    {
      id: 2, type: 'VideoDepthAnythingProcess', pos: [10, 20], size: [200, 90], widgets_values: [15, 392, 960, 'inferno'],
      inputs: [{ name: 'vda_model', link: 13 }, { name: 'images', link: 11 }, { name: 'target_fps', link: 12 }, { name: 'max_res', link: 14 }],
      outputs: [{ name: 'image', type: 'IMAGE', links: [15] }, { name: 'fps', type: 'FLOAT', links: [9] }],
    },
    { id: 3, type: 'Combine', pos: [300, 20], size: [200, 300], inputs: [{ name: 'images', link: 15 }, { name: 'frame_rate', link: 9 }] },
    { id: 4, type: 'Model', pos: { 0: -400, 1: 300 }, outputs: [{ links: [13] }, { links: [14] }] },
  ],
  links: [[11, 1, 0, 2, 1], [12, 1, 1, 2, 2], [13, 4, 0, 2, 0], [14, 4, 1, 2, 3], [15, 2, 0, 3, 0, 'IMAGE'], [9, 2, 1, 3, 1, 'FLOAT']],
})
const ours = type => ({ VideoDepthAnythingProcess: 1, VideoDepthAnythingOutput: 1 })[type]
const asObject = ([id, origin_id, origin_slot, target_id, target_slot, type]) => ({ id, origin_id, origin_slot, target_id, target_slot, type })
for (const definition of [false, true]) {
  const graph = first()
  if (definition) graph.links = graph.links.map(asObject)
  saved.mendGraph(graph, ours)
  const ends = graph.links.map(link => definition ? [link.id, link.origin_id, link.origin_slot, link.target_id, link.target_slot] : link.slice(0, 5))
  assert.deepStrictEqual(ends.sort((one, other) => one[0] - other[0]), [[9, 1, 1, 3, 1], [11, 1, 0, 2, 1], [13, 4, 0, 2, 0], [14, 4, 1, 2, 2], [15, 5, 0, 3, 0], [16, 2, 0, 5, 0]])
  const [load, process, , , shown] = graph.nodes
  assert.deepStrictEqual([process.widgets_values, shown.type, shown.widgets_values], [[392, 960], 'VideoDepthAnythingOutput', ['inferno']])
  assert.deepStrictEqual(process.inputs.map(input => input.name), ['vda_model', 'images', 'max_res'])
  assert.deepStrictEqual([load.outputs[1].links, process.outputs, shown.outputs[0].links], [[9], [{ name: 'depths', type: 'DEPTHS', links: [16] }], [15]])
  assert.deepStrictEqual(shown.pos, [10, 190], 'the place at the right is taken')
  assert.deepStrictEqual([graph.last_node_id, graph.last_link_id], [5, 16])
  const again = structuredClone(graph)
  saved.mendGraph(again, ours)
  assert.deepStrictEqual(again, graph)
}
// Without a source the rate's link goes; so do links from outputs that a node of this pack has no more; other packs' nodes stay.
const rateless = first()
rateless.nodes[1].inputs.splice(2, 1)
rateless.links = rateless.links.filter(link => link[0] !== 12)
saved.mendGraph(rateless, ours)
assert.ok(!rateless.links.some(link => link[0] === 9) && rateless.nodes[2].inputs[1].link === null)
// In a subgraph the rate may come from the subgraph's own inputs, and go to its outputs; lost links are null.
for (const [end, input] of [[3, 1], [-20, 0]]) {
  const within = first()
  within.links = within.links.filter(link => link[0] !== 12 && link[0] !== 9).map(asObject)
  within.links.push(asObject([12, -10, 0, 2, 2, 'FLOAT']), asObject([9, 2, 1, end, input, 'FLOAT']), null)
  Object.assign(within, { inputs: [{ linkIds: [12] }], outputs: [{ linkIds: end < 0 ? [9] : [] }] })
  saved.mendGraph(within, ours)
  const rates = within.links.filter(link => link.id === 9).map(link => [link.origin_id, link.origin_slot, link.target_id])
  assert.deepStrictEqual(rates, end < 0 ? [] : [[-10, 0, 3]])
  assert.deepStrictEqual([within.inputs[0].linkIds, within.outputs[0].linkIds], [end < 0 ? [] : [9], []])
}
const others = first()
saved.mendGraph(others, () => undefined)
assert.deepStrictEqual(others, first())
saved.mendGraph(undefined, ours)
// Group nodes, whose nodes have more widgets by now, and one with other values than its nodes, of which nothing is known.
for (const [values, wanted] of [[[3, 0.2, 75, 7], [3, 0.2, 'new', 75, 7]], [[3, 0.2, 75], [3, 0.2, 75]]]) {
  const inside = [{ type: 'Ours', widgets_values: [6, 0.1] }, { type: 'Other' }, { type: 'Ours', widgets_values: [60, 5] }]
  const group = { nodes: [{ type: 'workflow/maps', widgets_values: values }], extra: { groupNodes: { maps: { nodes: inside } } } }
  for (let time = 0; time < 2; time++) saved.mendGraph(group, () => undefined, type => type === 'Ours' ? [6, 0.1, 'new'] : [])
  assert.deepStrictEqual(group.nodes[0].widgets_values, wanted)
}
for (const inside of [[null], {}, [{ type: 'Ours', widgets_values: { named: 1 } }, null]]) {
  const damaged = { nodes: [null, { type: 'workflow/maps', widgets_values: [70] }], extra: { groupNodes: { maps: { nodes: inside } } } }
  saved.mendGraph(damaged, () => undefined, () => ['new'])
  assert.deepStrictEqual(damaged.nodes[1].widgets_values, [70])
}
saved.mendGraph({ nodes: {} }, ours, () => [])

const loaded = await maps.loadMaps(JSON.parse(fs.readFileSync(payloadFile, 'utf8')), read)
console.log(JSON.stringify({
  image: [...loaded.image.slice(0, 4)],
  depth: [...loaded.depth].map(value => Number.isNaN(value) ? null : value),
  normal: maps.normalAt(loaded, 3),
  bits: [...loaded.bits],
  words: [maps.describe(loaded, 0.9, 0.1), maps.describe(loaded, 0, 0)],
  chinese: inLanguage('zh', () => maps.describe(loaded, 0.9, 0.1)),
  translations: words.WORDS,
}))
