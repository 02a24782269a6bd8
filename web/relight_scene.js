// An image on the graphics card that can be relit at once.

import { MAX_LAMPS, SHADE, SHADOW, SHADOW_SCALE, SMOOTH, VERTEX } from './relight_shader.js'

/** One image's resources in the shared context. */
export class RelightScene {
  /**
   * @param {import('./gl.js').Gpu} gpu
   * @param {import('./maps.js').Maps} maps With normals and depth.
   * @param {() => void} redraw Asked for when the context came back after it was lost.
   */
  constructor(gpu, maps, redraw) {
    this.gpu = gpu
    this.maps = maps
    this.redraw = redraw
    this.generation = -1
    gpu.scenes.add(this)
  }

  /** Frees the resources on the card. */
  dispose() {
    this.gpu.scenes.delete(this)
    if (this.generation === this.gpu.generation && !this.gpu.lost) {
      for (const texture of Object.values(this.textures)) this.gpu.gl.deleteTexture(texture)
      for (const framebuffer of this.framebuffers) this.gpu.gl.deleteFramebuffer(framebuffer)
    }
    this.generation = -1
    this.maps = null
  }

  upload() {
    const { gpu, maps } = this, { gl } = gpu, { width, height } = maps
    const small = [width, height].map(length => Math.ceil(length / SHADOW_SCALE))
    const flags = new Uint8Array(4 * width * height)
    maps.bits.forEach((bits, i) => flags.set([bits, maps.thickness[i]], 4 * i))
    this.textures = {
      image: gpu.texture(width, height, maps.image),
      normals: gpu.texture(width, height, maps.normals),
      inverseDepth: gpu.texture(width, height, maps.depth.map(depth => 1 / depth)),
      flags: gpu.texture(width, height, flags),
      shadow: gpu.texture(...small, null),
      other: gpu.texture(...small, null),
    }
    this.framebuffers = [this.textures.shadow, this.textures.other].map(texture => {
      const framebuffer = gl.createFramebuffer()
      gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer)
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0)
      return framebuffer
    })
    this.farthest = maps.depth.reduce((most, depth) => Math.max(most, depth), 0)
    this.generation = gpu.generation
  }

  /**
   * Lights the image.
   * @param {import('./light.js').Lamp[]} lamps
   * @param {import('./light.js').Looks} looks
   * @param {HTMLCanvasElement} target Of the image's size; it keeps what it shows while the context is lost.
   * @param {number} coarse 1, or 2 for half the size, in a quarter of the time.
   */
  draw(lamps, looks, target, coarse = 1) {
    const { gpu } = this, { gl } = gpu, { width, height } = this.maps
    if (gpu.lost) return
    if (this.generation !== gpu.generation) this.upload()
    const shown = lamps.slice(0, MAX_LAMPS)
    gl.disable(gl.DEPTH_TEST)
    this.coarse = coarse
    this.extent = [Math.ceil(width / coarse), Math.ceil(height / coarse)]
    this.small = this.extent.map(length => Math.ceil(length / SHADOW_SCALE))
    if (shown.some(lamp => lamp.shadow > 0)) this.drawShadows(shown)
    gpu.room(width, height)
    const { image, normals, inverseDepth, flags, shadow } = this.textures
    const at = this.use(SHADE, { image, normals, inverseDepth, flags, shadow }, null, this.extent)
    this.place(at, shown)
    gl.uniform3fv(at.colour, padded(shown.map(lamp => lamp.colour.map(part => part * lamp.intensity)), 3))
    gl.uniform1fv(at.darkness, padded(shown.map(lamp => [lamp.shadow]), 1))
    for (const name of ['above', 'below']) gl.uniform3f(at[name], ...looks[name])
    for (const name of ['ambient', 'specular', 'shininess', 'exposure']) gl.uniform1f(at[name], looks[name])
    gl.uniform1i(at.rolled, looks.rolled ? 1 : 0)
    gl.drawArrays(gl.TRIANGLES, 0, 3)
    gpu.copyTo(target, ...this.extent)
  }

  /**
   * Measures how long an image takes: software rendering without a graphics card is too slow for the full preview.
   * @returns {number} Milliseconds.
   */
  timed(lamps, looks, target) {
    const { gl } = this.gpu, start = performance.now()
    this.draw(lamps, looks, target)
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4))
    return performance.now() - start
  }

  drawShadows(lamps) {
    const { gl } = this.gpu, { inverseDepth, flags, shadow, other } = this.textures
    const marched = this.use(SHADOW, { inverseDepth, flags }, this.framebuffers[0], this.small)
    this.place(marched, lamps)
    gl.uniform1f(marched.farthest, this.farthest)
    gl.drawArrays(gl.TRIANGLES, 0, 3)
    for (const [from, to, axis] of [[shadow, 1, [1, 0]], [other, 0, [0, 1]]]) {
      const at = this.use(SMOOTH, { inverseDepth, shadow: from }, this.framebuffers[to], this.small)
      gl.uniform2i(at.axis, ...axis)
      gl.drawArrays(gl.TRIANGLES, 0, 3)
    }
  }

  use(fragment, textures, framebuffer, size) {
    const { gpu, maps } = this, { gl } = gpu, { program, at } = gpu.program(VERTEX, fragment)
    gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer)
    gl.viewport(0, 0, ...size)
    gl.useProgram(program)
    gpu.bind(at, textures)
    gl.uniform2i(at.size, maps.width, maps.height)
    gl.uniform2i(at.smallSize, ...this.small)
    gl.uniform1i(at.coarse, this.coarse)
    return at
  }

  place(at, lamps) {
    const { gl } = this.gpu
    gl.uniform4f(at.camera, ...this.maps.intrinsics)
    gl.uniform1i(at.lamps, lamps.length)
    gl.uniform4fv(at.place, padded(lamps.map(lamp => [...lamp.position, lamp.isPoint ? 1 : 0]), 4))
    gl.uniform1fv(at.diameter, padded(lamps.map(lamp => [lamp.size]), 1))
  }
}

function padded(vectors, length) {
  const values = new Float32Array(length * MAX_LAMPS)
  vectors.forEach((vector, i) => values.set(vector, i * length))
  return values
}
