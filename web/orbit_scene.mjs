// The points that a depth map stands for, joined to a surface (plain numbers: no page is needed), and that surface on the graphics card,
// rendered from an orbiting camera.

const LONGEST = 256
const SAME = 0.05
// The farther surface goes on for so many vertices behind the nearer one. An edge that the network blurred is at most so many wide.
const BEHIND = 40
const BLURRED = 6
const SMOOTHINGS = 24
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
 * The surface that a camera saw, cut where one thing ends before another; behind the cuts the farther one goes on, so that no gap opens.
 * @param {import('./maps.mjs').Maps} maps With depth.
 * @returns {Solid}
 */
export function solidOf(maps) {
  const step = Math.max(1, Math.ceil(Math.max(maps.width, maps.height) / LONGEST))
  const columns = Math.floor((maps.width - 1) / step) + 1, rows = Math.floor((maps.height - 1) / step) + 1
  const whole = depthToCamera(maps), depth = new Float32Array(columns * rows)
  const points = new Float32Array(3 * depth.length), places = new Float32Array(2 * depth.length)
  const [fx, fy, cx, cy] = maps.intrinsics
  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
    const at = row * columns + column, x = column * step, y = row * step, z = whole[y * maps.width + x]
    depth[at] = z
    points.set([(x - cx) / fx * z, -(y - cy) / fy * z, -z], 3 * at)
    places.set([(x + 0.5) / maps.width, (y + 0.5) / maps.height], 2 * at)
  }
  const seen = [...depth].filter(z => z > 0).sort((a, b) => a - b), middle = seen[seen.length >> 1] ?? 1
  const inverse = depth.map(z => 1 / z), { triangles, cuts } = trianglesOf(inverse, columns, rows), back = hiddenSurface(inverse, columns, rows, cuts)
  const joinedPlaces = [...places], joinedPoints = [...points], around = [-1, 0, 1].flatMap(right => [-columns, 0, columns].map(down => down + right))
  const rim = new Set(cuts.flatMap(([near]) => around.map(step => near + step)))
  back.inverse.forEach((value, at) => {
    if (!value) return
    const stretch = inverse[at] / value, from = back.from[at], other = 2 * from - at, column = 2 * (from % columns) - at % columns
    for (let axis = 0; axis < 3; axis++) joinedPoints.push(points[3 * at + axis] * stretch)
    // At the cut itself it looks as the image does, so that the image's camera sees no seam; farther in as what is on the other side of
    // the edge, mirrored, where that is of the same surface.
    const place = rim.has(at) ? at : column >= 0 && column < columns && Math.abs(inverse[other] / inverse[from] - 1) < 4 * SAME ? other : from
    joinedPlaces.push(places[2 * place], places[2 * place + 1])
  })
  return { points: new Float32Array(joinedPoints), places: new Float32Array(joinedPlaces), triangles: new Uint32Array(triangles.concat(back.triangles)), middle }
}

/**
 * Depth whose zero is the camera, NaN where it is unknown.
 * @param {import('./maps.mjs').Maps} maps
 * @returns {Float32Array}
 */
export function depthToCamera({ depth, quantity }) {
  if (quantity === 'metric_depth' || quantity === 'scale_invariant_depth') return depth
  const [low, high] = endsOf(depth), span = high - low || 1
  if (quantity === 'relative_depth') return depth.map(value => Math.max(0.1, 1 + (FAR_BY_NEAR - 1) * (value - low) / span))
  return depth.map(value => 1 / Math.max(0.1 / FAR_BY_NEAR, (value - low) / span * (1 - 1 / FAR_BY_NEAR) + 1 / FAR_BY_NEAR))
}

/**
 * How near a pixel is where nothing is in metres, as the effects' percents have it the other way round (geometry/effects/depths.py).
 * @param {import('./maps.mjs').Maps} maps With depth.
 * @param {number} at Index of a pixel whose depth is known.
 * @returns {number} 0 at the far end of the scene, 1 at its near end.
 */
export function nearnessAt({ depth, quantity }, at) {
  const [low, high] = endsOf(depth), share = Math.min(1, Math.max(0, (depth[at] - low) / (high - low || 1)))
  const ratio = quantity === 'relative_depth' ? FAR_BY_NEAR : high / low
  return quantity === 'disparity' || ratio === 1 ? share : (ratio / (1 + (ratio - 1) * share) - 1) / (ratio - 1)
}

/** @type {WeakMap<Float32Array, number[]>} */
const ends = new WeakMap()

function endsOf(depth) {
  if (!ends.has(depth)) ends.set(depth, percentiles(depth, ENDS))
  return ends.get(depth)
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

// Inverse depth is linear along the screen on a plane, however far away or slanted: what either side's slope foretells is the same surface.
function joined(inverse, from, to, before, after) {
  const near = (guess, value) => Math.abs(guess / value - 1) < SAME
  const a = inverse[from], b = inverse[to]
  return near(a, b) || (before != null && near(2 * a - inverse[before], b)) || (after != null && near(2 * b - inverse[after], a))
}

function trianglesOf(inverse, columns, rows) {
  const triangles = [], cuts = []
  const along = (row, column, down, right) => {
    const to = (row + down) * columns + column + right, from = row * columns + column, step = down * columns + right
    const hasBefore = row >= down && column >= right, hasAfter = row + 2 * down < rows && column + 2 * right < columns
    const isJoined = joined(inverse, from, to, hasBefore ? from - step : null, hasAfter ? to + step : null)
    if (!isJoined) cuts.push(inverse[from] > inverse[to] ? [from, to] : [to, from])
    return isJoined
  }
  for (let row = 0; row + 1 < rows; row++) for (let column = 0; column + 1 < columns; column++) {
    const a = row * columns + column, b = a + 1, c = a + columns, d = c + 1
    const top = along(row, column, 0, 1), bottom = along(row + 1, column, 0, 1)
    const left = along(row, column, 1, 0), right = along(row, column + 1, 1, 0)
    if (top && left) triangles.push(a, c, b)
    if (bottom && right) triangles.push(b, c, d)
  }
  return { triangles, cuts }
}

/**
 * How the farther surface goes on behind the nearer one, from the cuts inwards.
 * @param {Float32Array} inverse Inverse depth of the vertices.
 * @param {number} columns
 * @param {number} rows
 * @param {[number, number][]} cuts Neighbours that are not joined, the nearer one first.
 * @returns {{ inverse: Float32Array, from: Int32Array, triangles: number[] }} Inverse depth of the hidden vertices, at the places of those
 *   that hide them, 0 = there is none; the vertex whose surface goes on; and triangles, in which hidden vertices follow the others in order.
 */
function hiddenSurface(inverse, columns, rows, cuts) {
  const hidden = new Float32Array(inverse.length), from = new Int32Array(inverse.length)
  const neighbours = at => [...at % columns ? [at - 1] : [], ...(at + 1) % columns ? [at + 1] : [], at - columns, at + columns].filter(to => inverse[to] > 0)
  const isBehind = (value, at) => value * (1 + SAME) < inverse[at]
  let front = []
  // A blurred edge is a stair: what lies behind its lowest step lies behind all.
  const offer = (at, value, source, isStair) => {
    if (!isBehind(value, at) || hidden[at] && !(isStair && value < hidden[at])) return
    hidden[at] = value
    from[at] = source
    front.push(at)
  }
  for (const [near, far] of cuts) if (inverse[far] > 0) offer(near, inverse[far], far, true)
  for (let level = 1; level < BEHIND && front.length; level++) {
    const edge = front
    front = []
    for (const at of edge) for (const to of neighbours(at)) offer(to, hidden[at], from[at], level < BLURRED)
  }
  const all = [...hidden.keys()].filter(at => hidden[at])
  for (let pass = 0; pass < SMOOTHINGS; pass++) {
    for (const at of all) {
      const around = neighbours(at).map(to => hidden[to] || inverse[to]).filter(value => isBehind(value, at))
      if (around.length) hidden[at] = around.reduce((sum, value) => sum + value, 0) / around.length
    }
  }
  const numbers = new Int32Array(inverse.length).fill(-1)
  all.forEach((at, place) => { numbers[at] = inverse.length + place })
  const triangles = []
  const add = corners => {
    const lowest = Math.min(...corners.map(at => hidden[at] || Infinity))
    if (lowest < Infinity && corners.every(at => hidden[at] || inverse[at] > 0 && !isBehind(lowest, at))) triangles.push(...corners.map(at => hidden[at] ? numbers[at] : at))
  }
  for (let row = 0; row + 1 < rows; row++) for (let column = 0; column + 1 < columns; column++) {
    const a = row * columns + column, b = a + 1, c = a + columns, d = c + 1
    add([a, c, b])
    add([b, c, d])
  }
  return { inverse: hidden, from, triangles }
}

const VERTEX = `#version 300 es
layout(location = 0) in vec3 point;
layout(location = 1) in vec2 place;
uniform mat4 view;
out vec2 at;
void main() {
  at = place;
  gl_Position = view * vec4(point, 1.0);
}`

const FRAGMENT = `#version 300 es
precision highp float;
in vec2 at;
uniform sampler2D image;
out vec4 seen;
void main() {
  seen = vec4(texture(image, at).rgb, 1.0);
}`

const BACKGROUND = /** @type {const} */ ([0.12, 0.12, 0.13])

/** One surface's resources in the shared context. */
export class OrbitScene {
  /**
   * @param {import('./gl.mjs').Gpu} gpu
   * @param {import('./maps.mjs').Maps} maps With depth.
   * @param {Uint8ClampedArray} colours RGBA of the preview's size.
   * @param {() => void} redraw Asked for when the context came back after it was lost.
   */
  constructor(gpu, maps, colours, redraw) {
    this.gpu = gpu
    this.maps = maps
    this.colours = colours
    this.redraw = redraw
    this.generation = -1
    this.solid = solidOf(maps)
    this.reset()
    gpu.scenes.add(this)
  }

  /** Resets the view to the image's camera. */
  reset() {
    this.yaw = this.pitch = 0
    this.distance = 1
    this.shift = [0, 0]
    this.focal = 1
  }

  /** @param {number} dx Shares of the view. @param {number} dy */
  turn(dx, dy) {
    this.yaw += 3 * dx
    this.pitch = Math.min(1.5, Math.max(-1.5, this.pitch + 3 * dy))
  }

  /** @param {number} dx Shares of the view. @param {number} dy */
  move(dx, dy) {
    const reach = 2 / this.focal * this.distance * this.solid.middle
    this.shift = [this.shift[0] + dx * reach, this.shift[1] - dy * reach]
  }

  /** @param {number} steps Positive = nearer. */
  approach(steps) {
    this.distance = Math.min(20, Math.max(0.02, this.distance * 0.9 ** steps))
  }

  /** @param {HTMLCanvasElement} target */
  draw(target) {
    const { gpu } = this, { gl } = gpu
    if (gpu.lost) return
    if (this.generation !== gpu.generation) this.upload()
    const { program, at } = gpu.program(VERTEX, FRAGMENT)
    gpu.room(target.width, target.height)
    gl.bindFramebuffer(gl.FRAMEBUFFER, null)
    gl.viewport(0, 0, target.width, target.height)
    gl.useProgram(program)
    gpu.bindTextures(at, { image: this.texture })
    gl.uniformMatrix4fv(at.view, false, this.matrix(target.width / target.height))
    gl.enable(gl.DEPTH_TEST)
    gl.clearColor(...BACKGROUND, 1)
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT)
    gl.bindVertexArray(this.array)
    gl.drawElements(gl.TRIANGLES, this.solid.triangles.length, gl.UNSIGNED_INT, 0)
    gl.bindVertexArray(null)
    gl.disable(gl.DEPTH_TEST)
    gpu.copyTo(target)
  }

  // The focal length, in half heights of the view, by which the view of the image's camera has all of the image.
  fitted(aspect) {
    const { width, height, intrinsics: [fx, fy] } = this.maps
    return 2 * Math.min(fy / height, aspect * fx / width)
  }

  // From points to the screen: around the point in the middle of the image, at median depth.
  matrix(aspect) {
    const { middle } = this.solid, far = 200 * middle, near = 0.005 * middle, back = this.distance * middle
    const focal = this.focal = this.fitted(aspect), { sin, cos } = Math
    const [sy, cy, sp, cp] = [sin(this.yaw), cos(this.yaw), sin(this.pitch), cos(this.pitch)]
    const rotation = [[cy, 0, sy], [sp * sy, cp, -sp * cy], [-cp * sy, sp, cp * cy]]
    const move = rotation.map((row, i) => row[2] * middle + [...this.shift, -back][i])
    const across = focal / aspect
    const a = (near + far) / (near - far), b = 2 * near * far / (near - far)
    const columns = [0, 1, 2].map(i => [across * rotation[0][i], focal * rotation[1][i], a * rotation[2][i], -rotation[2][i]])
    return new Float32Array([...columns.flat(), across * move[0], focal * move[1], a * move[2] + b, -move[2]])
  }

  upload() {
    const { gpu, solid, maps } = this, { gl } = gpu
    this.texture = gpu.texture(maps.width, maps.height, this.colours)
    this.array = gl.createVertexArray()
    gl.bindVertexArray(this.array)
    const { ARRAY_BUFFER: corners, ELEMENT_ARRAY_BUFFER: kind } = gl, { points, places, triangles } = solid
    this.buffers = [{ kind: corners, values: points, size: 3 }, { kind: corners, values: places, size: 2 }, { kind, values: triangles, size: 0 }]
      .map(({ kind, values, size }, place) => {
        const buffer = gl.createBuffer()
        gl.bindBuffer(kind, buffer)
        gl.bufferData(kind, values, gl.STATIC_DRAW)
        if (size) {
          gl.enableVertexAttribArray(place)
          gl.vertexAttribPointer(place, size, gl.FLOAT, false, 0, 0)
        }
        return buffer
      })
    gl.bindVertexArray(null)
    this.generation = gpu.generation
  }

  /** Frees the resources on the card. */
  dispose() {
    const { gpu } = this
    gpu.scenes.delete(this)
    if (this.generation === gpu.generation && !gpu.lost) {
      gpu.gl.deleteTexture(this.texture)
      gpu.gl.deleteVertexArray(this.array)
      for (const buffer of this.buffers) gpu.gl.deleteBuffer(buffer)
    }
    this.generation = -1
    this.maps = this.solid = this.colours = null
  }
}

/** What turns a surface in a view by the pointer and the keys. */
export class OrbitControl {
  /** @param {import('./image_view.mjs').ImageView} view */
  constructor(view) {
    this.view = view
    this.scene = null
    this.pending = 0
  }

  grab(point) {
    this.last = point
    return Boolean(this.scene)
  }

  drag(point, event) {
    const dx = point.x - this.last.x, dy = point.y - this.last.y
    this.last = point
    if (event.shiftKey) this.scene.move(dx, dy)
    else this.scene.turn(dx, dy)
    this.schedule()
  }

  wheel(steps) {
    this.scene?.approach(steps)
    this.schedule()
    return Boolean(this.scene)
  }

  arrow(dx, dy, event) {
    this.scene?.[event.shiftKey ? 'move' : 'turn'](dx / 30, dy / 30)
    this.schedule()
  }

  escape() {
    this.reset()
    return Boolean(this.scene)
  }

  reset() {
    this.scene?.reset()
    this.schedule()
  }

  schedule() {
    if (this.scene && !this.pending) this.pending = requestAnimationFrame(() => { this.pending = 0; this.scene?.draw(this.view.canvas) })
  }

  /** Leaves the 3D view. */
  close() {
    cancelAnimationFrame(this.pending)
    this.pending = 0
    this.scene?.dispose()
    this.scene = null
  }
}
