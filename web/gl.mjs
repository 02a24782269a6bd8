// One WebGL context for all nodes: browsers allow about sixteen. Views draw into it and copy the result into their own canvas.

let shared = null

/**
 * The context that all nodes share, created on first use; null if the browser has no WebGL 2.
 * @returns {Gpu | null}
 */
export function gpu() {
  shared ??= new Gpu()
  return shared.gl ? shared : null
}

/** A WebGL 2 context with its programs. Its resources are created again after a context loss. */
export class Gpu {
  constructor() {
    this.canvas = document.createElement('canvas')
    this.gl = this.canvas.getContext('webgl2', { alpha: false, antialias: false, depth: true, powerPreference: 'low-power' })
    this.programs = new Map()
    this.scenes = new Set()
    this.generation = 0
    /** @type {boolean | undefined} Whether it takes long to light an image; undefined: not tried. */
    this.isSlow = undefined
    this.canvas.addEventListener('webglcontextlost', event => event.preventDefault())
    this.canvas.addEventListener('webglcontextrestored', () => this.restored())
  }

  get lost() {
    return this.gl.isContextLost()
  }

  restored() {
    this.generation++
    this.programs.clear()
    for (const scene of this.scenes) scene.redraw()
  }

  /** @param {string} vertex GLSL. @param {string} fragment GLSL. @returns {{program: WebGLProgram, at: Record<string, WebGLUniformLocation>}} */
  program(vertex, fragment) {
    const key = vertex + fragment
    if (!this.programs.has(key)) this.programs.set(key, this.built(vertex, fragment))
    return this.programs.get(key)
  }

  built(vertex, fragment) {
    const { gl } = this, program = gl.createProgram()
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind)
      gl.shaderSource(shader, source)
      gl.compileShader(shader)
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) throw new Error(gl.getShaderInfoLog(shader))
      gl.attachShader(program, shader)
    }
    gl.linkProgram(program)
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(program))
    const at = {}, count = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) ?? 0
    for (let i = 0; i < count; i++) {
      const name = gl.getActiveUniform(program, i).name
      at[name.replace('[0]', '')] = gl.getUniformLocation(program, name)
    }
    return { program, at }
  }

  /**
   * A texture whose pixels are read one by one.
   * @param {number} width
   * @param {number} height
   * @param {ArrayBufferView | TexImageSource | null} values RGBA bytes, one float a pixel, or what the browser decoded; null = empty RGBA.
   * @returns {WebGLTexture}
   */
  texture(width, height, values) {
    const { gl } = this, texture = gl.createTexture()
    gl.bindTexture(gl.TEXTURE_2D, texture)
    const layout = values instanceof Float32Array ? [gl.R32F, gl.RED, gl.FLOAT] : [gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE]
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1)
    if (values && !ArrayBuffer.isView(values)) gl.texImage2D(gl.TEXTURE_2D, 0, layout[0], layout[1], layout[2], values)
    else gl.texImage2D(gl.TEXTURE_2D, 0, layout[0], width, height, 0, layout[1], layout[2], values && asBytes(values))
    this.readOneByOne(gl.TEXTURE_2D)
    return texture
  }

  /** Empty RGBA textures of one size, one behind the other. @param {number} width @param {number} height @param {number} count @returns {WebGLTexture} */
  layers(width, height, count) {
    const { gl } = this, texture = gl.createTexture()
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture)
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA8, width, height, count)
    this.readOneByOne(gl.TEXTURE_2D_ARRAY)
    return texture
  }

  readOneByOne(target) {
    const { gl } = this
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(target, name, gl.NEAREST)
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(target, name, gl.CLAMP_TO_EDGE)
  }

  /**
   * Binds textures to the samplers of a program.
   * @param {Record<string, WebGLUniformLocation>} at
   * @param {Record<string, WebGLTexture>} textures
   * @param {GLenum} target What kind they are.
   * @param {number} first Their first unit.
   */
  bindTextures(at, textures, target = this.gl.TEXTURE_2D, first = 0) {
    const { gl } = this
    Object.entries(textures).forEach(([name, texture], i) => {
      gl.activeTexture(gl.TEXTURE0 + first + i)
      gl.bindTexture(target, texture)
      gl.uniform1i(at[name] ?? null, first + i)
    })
  }

  /** Makes the drawing surface at least this large: to shrink it for each node in turn would cost more. @param {number} width @param {number} height */
  room(width, height) {
    if (this.canvas.width < width) this.canvas.width = width
    if (this.canvas.height < height) this.canvas.height = height
  }

  /** Copies what was drawn in the lower left corner into a node's whole canvas. @param {HTMLCanvasElement} target @param {number} width @param {number} height */
  copyTo(target, width = target.width, height = target.height) {
    target.getContext('2d').drawImage(this.canvas, 0, this.canvas.height - height, width, height, 0, 0, target.width, target.height)
  }
}

function asBytes(values) {
  return values instanceof Uint8ClampedArray ? new Uint8Array(values.buffer, values.byteOffset, values.length) : values
}
