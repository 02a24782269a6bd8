// The points that a depth map stands for, joined to a surface. Plain numbers: no page is needed.

const LONGEST = 256
const SAME = 0.05
const DEFAULT_FOV = 55
// As geometry/assumptions.py assumes where nothing says how deep a scene is.
const FAR_BY_NEAR = 3
const ENDS = [0.02, 0.98]

/**
 * @typedef {object} Solid
 * @property {Float32Array} points x, y, z of each vertex, OpenGL axes, the camera at 0.
 * @property {Float32Array} places Its u, v in the image.
 * @property {Uint32Array} triangles
 * @property {number} middle Median depth.
 */

/**
 * The surface that a camera saw, cut where one thing ends before another.
 * @param {import('./maps.js').Maps} maps With depth.
 * @returns {Solid}
 */
export function solidOf(maps) {
  const step = Math.max(1, Math.ceil(Math.max(maps.width, maps.height) / LONGEST))
  const columns = Math.floor((maps.width - 1) / step) + 1, rows = Math.floor((maps.height - 1) / step) + 1
  const whole = depthToCamera(maps), depth = new Float32Array(columns * rows)
  const points = new Float32Array(3 * depth.length), places = new Float32Array(2 * depth.length)
  const [fx, fy, cx, cy] = maps.intrinsics ?? assumedCamera(maps)
  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
    const at = row * columns + column, x = column * step, y = row * step, z = whole[y * maps.width + x]
    depth[at] = z
    points.set([(x - cx) / fx * z, -(y - cy) / fy * z, -z], 3 * at)
    places.set([(x + 0.5) / maps.width, (y + 0.5) / maps.height], 2 * at)
  }
  const seen = [...depth].filter(z => z > 0).sort((a, b) => a - b)
  return { points, places, triangles: trianglesOf(depth, columns, rows), middle: seen[seen.length >> 1] ?? 1 }
}

/**
 * Depth whose zero is the camera, NaN where it is unknown.
 * @param {import('./maps.js').Maps} maps
 * @returns {Float32Array}
 */
export function depthToCamera({ depth, quantity }) {
  if (quantity === 'metric_depth') return depth
  const [low, high] = percentiles(depth, ENDS), span = high - low || 1
  if (quantity === 'relative_depth') return depth.map(value => Math.max(0.1, 1 + (FAR_BY_NEAR - 1) * (value - low) / span))
  return depth.map(value => 1 / Math.max(0.1 / FAR_BY_NEAR, (value - low) / span * (1 - 1 / FAR_BY_NEAR) + 1 / FAR_BY_NEAR))
}

/**
 * @param {Float32Array} values NaN does not count.
 * @param {number[]} shares Of the way from the smallest to the largest.
 * @returns {number[]}
 */
export function percentiles(values, shares) {
  const stride = Math.max(1, Math.floor(values.length / 20000))
  const sorted = values.filter((value, i) => i % stride === 0 && !Number.isNaN(value)).sort()
  return shares.map(share => sorted.length ? sorted[Math.round(share * (sorted.length - 1))] : 0)
}

/**
 * The camera that is assumed where none is known.
 * @param {{width: number, height: number}} size
 * @returns {[number, number, number, number]} fx, fy, cx, cy in pixels.
 */
export function assumedCamera({ width, height }) {
  const focal = Math.max(width, height) / 2 / Math.tan(DEFAULT_FOV * Math.PI / 360)
  return [focal, focal, (width - 1) / 2, (height - 1) / 2]
}

// Inverse depth is linear along the screen on a plane, however far away or slanted: what either side's slope foretells is the same surface.
function joined(inverse, from, to, before, after) {
  const near = (guess, value) => Math.abs(guess / value - 1) < SAME
  const a = inverse[from], b = inverse[to]
  return near(a, b) || (before != null && near(2 * a - inverse[before], b)) || (after != null && near(2 * b - inverse[after], a))
}

function trianglesOf(depth, columns, rows) {
  const inverse = depth.map(z => 1 / z), triangles = []
  const along = (row, column, down, right) => {
    const to = (row + down) * columns + column + right, from = row * columns + column, step = down * columns + right
    const hasBefore = row >= down && column >= right, hasAfter = row + 2 * down < rows && column + 2 * right < columns
    return joined(inverse, from, to, hasBefore ? from - step : null, hasAfter ? to + step : null)
  }
  for (let row = 0; row + 1 < rows; row++) for (let column = 0; column + 1 < columns; column++) {
    const a = row * columns + column, b = a + 1, c = a + columns, d = c + 1
    const top = along(row, column, 0, 1), bottom = along(row + 1, column, 0, 1)
    const left = along(row, column, 1, 0), right = along(row, column + 1, 1, 0)
    if (top && left) triangles.push(a, c, b)
    if (bottom && right) triangles.push(b, c, d)
  }
  return new Uint32Array(triangles)
}
