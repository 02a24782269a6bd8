// An image on the graphics card that can be relit at once.

import { LAMPS_AT_ONCE, SHADOW, SHADOW_SCALE, SMOOTH, VERTEX, shadeOf } from './relight_shader.mjs'

/** One image's resources in the shared context. */
export class RelightScene {
  /**
   * @param {import('./gl.mjs').Gpu} gpu
   * @param {import('./maps.mjs').Maps} maps With normals and depth.
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
      for (const framebuffer of [...this.framebuffers, this.layered]) this.gpu.gl.deleteFramebuffer(framebuffer)
    }
    this.generation = -1
    this.maps = null
  }

  upload() {
    const { gpu, maps } = this, { gl } = gpu, { width, height } = maps
    /** @type {[number, number]} */
    this.shadowSize = [Math.ceil(width / SHADOW_SCALE), Math.ceil(height / SHADOW_SCALE)]
    const flags = new Uint8Array(4 * width * height)
    maps.bits.forEach((bits, i) => flags.set([bits, maps.thickness[i]], 4 * i))
    this.textures = {
      image: gpu.texture(width, height, maps.image),
      normals: gpu.texture(width, height, maps.normals),
      inverseDepth: gpu.texture(width, height, maps.depth.map(depth => 1 / depth)),
      flags: gpu.texture(width, height, flags),
      shadow: gpu.texture(...this.shadowSize, null),
      other: gpu.texture(...this.shadowSize, null),
    }
    this.framebuffers = [this.textures.shadow, this.textures.other].map(texture => {
      const framebuffer = gl.createFramebuffer()
      gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer)
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0)
      return framebuffer
    })
    this.layered = gl.createFramebuffer()
    this.layers = 0
    this.farthest = maps.depth.reduce((most, depth) => Math.max(most, depth), 0)
    this.generation = gpu.generation
  }

  /**
   * Lights the image.
   * @param {import('./light.mjs').Lamp[]} lamps
   * @param {import('./light.mjs').Looks} looks
   * @param {HTMLCanvasElement} target Of the image's size; it keeps what it shows while the context is lost.
   * @param {number} coarse 1, or 2 for half the size, in a quarter of the time.
   */
  draw(lamps, looks, target, coarse = 1) {
    const { gpu } = this, { gl } = gpu, { width, height } = this.maps
    if (gpu.lost) return
    if (this.generation !== gpu.generation) this.upload()
    const groups = inGroups(lamps)
    gl.disable(gl.DEPTH_TEST)
    this.coarse = coarse
    /** @type {[number, number]} */
    this.extent = [Math.ceil(width / coarse), Math.ceil(height / coarse)]
    this.small = this.extent.map(length => Math.ceil(length / SHADOW_SCALE))
    this.makeLayers(groups.length)
    groups.forEach((group, layer) => { if (group.some(lamp => lamp.shadow > 0)) this.drawShadows(group, layer) })
    gpu.room(width, height)
    const { image, normals, inverseDepth, flags, shadows } = this.textures, count = LAMPS_AT_ONCE * groups.length
    const at = this.use(shadeOf(count), { image, normals, inverseDepth, flags }, null, this.extent)
    gpu.bindTextures(at, { shadows }, gl.TEXTURE_2D_ARRAY, 4)
    this.place(at, lamps, count)
    gl.uniform4fv(at.colour, padded(lamps.map(lamp => [...lamp.colour.map(part => part * lamp.intensity), lamp.shadow]), 4, count))
    for (const name of ['above', 'below']) gl.uniform3fv(at[name], looks[name])
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

  /** Makes room for the shadows of so many groups of lamps. */
  makeLayers(count) {
    if (this.layers >= count) return
    if (this.textures.shadows) this.gpu.gl.deleteTexture(this.textures.shadows)
    this.textures.shadows = this.gpu.layers(...this.shadowSize, count)
    this.layers = count
  }

  /** Draws the shadows of a group of lamps into a layer. */
  drawShadows(lamps, layer) {
    const { gl } = this.gpu, { inverseDepth, flags, shadow, other, shadows } = this.textures
    const marched = this.use(SHADOW, { inverseDepth, flags }, this.framebuffers[0], this.small)
    this.place(marched, lamps, LAMPS_AT_ONCE)
    gl.uniform1f(marched.farthest, this.farthest)
    gl.drawArrays(gl.TRIANGLES, 0, 3)
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.layered)
    gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, shadows, 0, layer)
    for (const { from, to, axis } of [{ from: shadow, to: this.framebuffers[1], axis: [1, 0] }, { from: other, to: this.layered, axis: [0, 1] }]) {
      const at = this.use(SMOOTH, { inverseDepth, shadow: from }, to, this.small)
      gl.uniform2iv(at.axis, axis)
      gl.drawArrays(gl.TRIANGLES, 0, 3)
    }
  }

  use(fragment, textures, framebuffer, size) {
    const { gpu, maps } = this, { gl } = gpu, { program, at } = gpu.program(VERTEX, fragment)
    gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer)
    gl.viewport(0, 0, size[0], size[1])
    gl.useProgram(program)
    gpu.bindTextures(at, textures)
    gl.uniform2i(at.size, maps.width, maps.height)
    gl.uniform2iv(at.smallSize, this.small)
    gl.uniform1i(at.coarse, this.coarse)
    return at
  }

  place(at, lamps, count) {
    const { gl } = this.gpu
    gl.uniform4f(at.camera, ...this.maps.intrinsics)
    gl.uniform1i(at.lamps, lamps.length)
    gl.uniform4fv(at.place, padded(lamps.map(lamp => [...lamp.position, lamp.isPoint ? 1 : 0]), 4, count))
    gl.uniform4fv(at.diameters, padded(lamps.map(lamp => [lamp.size]), 1, count))
  }
}

/** The lamps four by four; at least one group, which may be empty. */
function inGroups(lamps) {
  const groups = [lamps.slice(0, LAMPS_AT_ONCE)]
  for (let start = LAMPS_AT_ONCE; start < lamps.length; start += LAMPS_AT_ONCE) groups.push(lamps.slice(start, start + LAMPS_AT_ONCE))
  return groups
}

function padded(vectors, length, count) {
  const values = new Float32Array(length * count)
  vectors.forEach((vector, i) => values.set(vector, i * length))
  return values
}
