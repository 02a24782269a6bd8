// Reads what nodes/live.py and geometry/files/html_page.py write: an image, and its normals and depth as numbers.

import { nearnessAt } from './orbit_scene.mjs'
import { translated } from './words.mjs'

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10]
const NAME = /^depth_normal_[0-9a-f]{32}\.png$/
const STEPS = 65534
/** The bit of a valid pixel. */
export const VALID = 1
const SKY = 2
const FLAGS = 3
const DEFAULT_FOV = 55

/**
 * @typedef {object} Maps
 * @property {number} width Of the preview, in pixels.
 * @property {number} height
 * @property {[number, number]} full Width and height of the image itself.
 * @property {Uint8ClampedArray<ArrayBuffer> | ImageBitmap | HTMLCanvasElement | null} image RGBA, row by row; in a page of its own what the browser decoded.
 * @property {Float32Array | null} depth NaN where it is unknown.
 * @property {string | null} quantity Kind of depth: metric_depth, scale_invariant_depth, relative_depth or disparity.
 * @property {Uint8Array | null} normals RGBA: n / 2 + 0.5 in OpenGL axes, then 255 where there is a normal.
 * @property {Uint8Array | null} bits Flags per pixel: 1 where all maps are valid, 2 in the sky.
 * @property {Uint8Array | null} thickness Per pixel 0 to 63; 63 = 0.15 of the depth, half the thickness of things.
 * @property {[number, number, number, number]} intrinsics fx, fy, cx, cy in pixels of the preview; an assumed camera's where none is known.
 * @property {object} payload The payload it was loaded from.
 */

/**
 * Loads one image of a node's output.
 * @param {object} payload As `nodes/live.py` makes it.
 * @param {(path: string) => Promise<ArrayBuffer>} read Fetches a path of the server.
 * @returns {Promise<Maps>}
 */
export async function loadMaps(payload, read) {
  const [image, packed] = await Promise.all(
    [payload.image, payload.maps].map(async file => file ? decodePng(await read(viewPath(file))) : null),
  )
  return joinedMaps(payload, { ...image, image: withAlpha(image.rgb, () => 255) }, packed)
}

/**
 * An image with its maps.
 * @param {object} payload As `geometry/files/packed_maps.py` describes it.
 * @param {{width: number, height: number, image: any}} size The preview's, and its image.
 * @param {{width: number, height: number, rgb: Uint8Array} | null} packed The maps' own image.
 * @returns {Maps}
 */
export function joinedMaps(payload, { width, height, image }, packed) {
  if (packed && (packed.width !== width || packed.height !== 2 * height)) throw new Error('the maps are not of the image\'s size')
  return {
    width,
    height,
    full: payload.full,
    image,
    quantity: payload.depth?.quantity ?? null,
    intrinsics: payload.intrinsics ?? assumedCamera({ width, height }),
    payload,
    ...unpack(packed, width * height, payload),
  }
}

/**
 * The camera that is assumed where none is known.
 * @param {{width: number, height: number}} size
 * @returns {[number, number, number, number]} fx, fy, cx, cy in pixels.
 */
function assumedCamera({ width, height }) {
  const focal = Math.max(width, height) / 2 / Math.tan(DEFAULT_FOV * Math.PI / 360)
  return [focal, focal, (width - 1) / 2, (height - 1) / 2]
}

/**
 * The server's path of a file; only for files that nodes/live.py wrote into the temp folder.
 * @param {{filename: string, subfolder: string, type: string}} file
 * @returns {string}
 */
export function viewPath(file) {
  if (file?.type !== 'temp' || file.subfolder !== '' || !NAME.test(file.filename)) throw new Error('this is no preview of Depth & Normals')
  return `/view?filename=${file.filename}&type=temp&subfolder=`
}

/**
 * An RGB PNG of 8 bits whose rows have filter 0 or 2, as this pack writes them. Browsers' own decoders may alter numbers: by colour
 * profiles, and by the noise that some add to what a page reads of a canvas.
 * @param {ArrayBuffer} buffer
 * @returns {Promise<{width: number, height: number, rgb: Uint8Array}>}
 */
export async function decodePng(buffer) {
  const bytes = new Uint8Array(buffer), view = new DataView(buffer)
  if (SIGNATURE.some((byte, place) => bytes[place] !== byte)) throw new Error('the file is no PNG')
  const width = view.getUint32(16), height = view.getUint32(20)
  if (bytes[24] !== 8 || bytes[25] !== 2 || bytes[28] !== 0) throw new Error('the PNG is not plain RGB of 8 bits')
  const parts = []
  for (let at = 8; at < bytes.length;) {
    const length = view.getUint32(at)
    if (String.fromCharCode(...bytes.subarray(at + 4, at + 8)) === 'IDAT') parts.push(bytes.subarray(at + 8, at + 8 + length))
    at += 12 + length
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream('deflate'))
  const rows = new Uint8Array(await new Response(stream).arrayBuffer())
  return { width, height, rgb: unfiltered(rows, 3 * width, height) }
}

function unfiltered(rows, stride, height) {
  const pixels = new Uint8Array(stride * height)
  for (let row = 0; row < height; row++) {
    const from = row * (stride + 1), to = row * stride, filter = rows[from]
    if (filter !== 0 && filter !== 2) throw new Error(`the PNG has a row of filter ${filter}`)
    const above = filter === 2 && row > 0
    for (let i = 0; i < stride; i++) pixels[to + i] = rows[from + 1 + i] + (above ? pixels[to - stride + i] : 0)
  }
  return pixels
}

function unpack(packed, count, payload) {
  if (!packed) return { depth: null, normals: null, bits: null, thickness: null }
  const { rgb } = packed, lower = 3 * count
  const flags = Uint8Array.from({ length: count }, (_, i) => rgb[lower + 3 * i + 2])
  const hasNormal = i => rgb[3 * i] || rgb[3 * i + 1] || rgb[3 * i + 2] ? 255 : 0
  return {
    bits: flags.map(value => value & FLAGS),
    thickness: flags.map(value => value >> 2),
    normals: payload.normals ? new Uint8Array(withAlpha(rgb.subarray(0, lower), hasNormal).buffer) : null,
    depth: payload.depth && depthOf(rgb.subarray(lower), count, payload.depth),
  }
}

function depthOf(rgb, count, { law, low, high }) {
  const depth = new Float32Array(count)
  for (let i = 0; i < count; i++) {
    const code = 256 * rgb[3 * i] + rgb[3 * i + 1]
    const value = low + (high - low) * (code - 1) / STEPS
    depth[i] = code === 0 ? NaN : law === 'log' ? Math.exp(value) : value
  }
  return depth
}

function withAlpha(rgb, alpha) {
  const rgba = new Uint8ClampedArray(rgb.length / 3 * 4)
  for (let i = 0; i < rgb.length / 3; i++) {
    rgba[4 * i] = rgb[3 * i]
    rgba[4 * i + 1] = rgb[3 * i + 1]
    rgba[4 * i + 2] = rgb[3 * i + 2]
    rgba[4 * i + 3] = alpha(i)
  }
  return rgba
}

/**
 * Finds the pixel at fractions of the image.
 * @param {Maps} maps
 * @param {number} x 0 at the left border, 1 at the right one.
 * @param {number} y 0 at the top.
 * @returns {number} Its index, row by row.
 */
export function pixelAt(maps, x, y) {
  const column = Math.min(maps.width - 1, Math.max(0, Math.floor(x * maps.width)))
  const row = Math.min(maps.height - 1, Math.max(0, Math.floor(y * maps.height)))
  return row * maps.width + column
}

/**
 * Depth and direction at a place, in words: "2.31 m, faces 34° left, 12° up".
 * @param {Maps} maps
 * @param {number} x Fractions of the image.
 * @param {number} y
 * @returns {string}
 */
export function describe(maps, x, y) {
  const at = pixelAt(maps, x, y), words = []
  if (maps.depth) words.push(depthInWords(maps, at))
  if (maps.normals) words.push(normalInWords(normalAt(maps, at)))
  if (maps.bits && !(maps.bits[at] & VALID)) words.push(translated('masked'))
  if (maps.bits && maps.bits[at] & SKY) words.push(translated('sky'))
  return words.join(', ')
}

/**
 * @param {Maps} maps
 * @param {number} at Index of a pixel.
 * @returns {[number, number, number] | null} Unit vector in OpenGL axes.
 */
export function normalAt(maps, at) {
  if (!maps.normals?.[4 * at + 3]) return null
  const [x, y, z] = [0, 1, 2].map(i => maps.normals[4 * at + i] / 127.5 - 1)
  const length = Math.hypot(x, y, z) || 1
  return [x / length, y / length, z / length]
}

function depthInWords(maps, at) {
  const depth = maps.depth[at], number = Number(depth.toPrecision(3))
  if (Number.isNaN(depth)) return translated('no depth')
  if (maps.payload.unit === 'depth') return `${translated('depth')} ${number}`
  if (maps.quantity === 'metric_depth') return `${number} m`
  const near = Math.round(100 * nearnessAt(maps, at))
  return maps.payload.unit === 'percent' ? translated('{0} % from near to far', 100 - near) : translated('relative {0} (0 far, 100 near)', near)
}

function normalInWords(normal) {
  if (!normal) return translated('no normal')
  const degrees = radians => Math.round(radians * 180 / Math.PI)
  const aside = degrees(Math.atan2(normal[0], normal[2])), up = degrees(Math.asin(Math.max(-1, Math.min(1, normal[1]))))
  const [across, upright] = [Math.abs(aside), Math.abs(up)]
  return translated(
    'faces {0}, {1}',
    aside < 0 ? translated('{0}° left', across) : translated('{0}° right', across),
    up < 0 ? translated('{0}° down', upright) : translated('{0}° up', upright),
  )
}
