// A surface on the graphics card, rendered from an orbiting camera.

import { assumedCamera, solidOf } from './solid.js'

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

const BACKGROUND = [0.12, 0.12, 0.13]

/** One surface's resources in the shared context. */
export class OrbitScene {
  /**
   * @param {import('./gl.js').Gpu} gpu
   * @param {import('./maps.js').Maps} maps With depth.
   * @param {Uint8ClampedArray} colours RGBA of the preview's size.
   * @param {() => void} redraw Asked for when the context came back after it was lost.
   */
  constructor(gpu, maps, colours, redraw) {
    Object.assign(this, { gpu, maps, colours, redraw, generation: -1 })
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
    const { width, height, intrinsics } = this.maps, [fx, fy] = intrinsics ?? assumedCamera(this.maps)
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
    this.buffers = [[gl.ARRAY_BUFFER, solid.points, 3], [gl.ARRAY_BUFFER, solid.places, 2], [gl.ELEMENT_ARRAY_BUFFER, solid.triangles]]
      .map(([kind, values, size], place) => {
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
