// Lights as geometry/effects/lights.py has them, and where they appear in the image. Plain numbers: no page is needed.

const NEAREST_DEPTH = 0.05
const RADIANS = Math.PI / 180

/**
 * @typedef {object} Lamp
 * @property {[number, number, number]} position OpenGL axes; of a directional light the direction towards it.
 * @property {boolean} isPoint
 * @property {[number, number, number]} colour Linear.
 * @property {number} intensity
 * @property {number} size Diameter.
 * @property {number} shadow How dark its shadows are.
 */

/**
 * @typedef {object} Looks
 * @property {number} ambient
 * @property {[number, number, number]} above Linear colour of the ambient light from above.
 * @property {[number, number, number]} below
 * @property {number} specular
 * @property {number} shininess
 * @property {number} exposure In stops.
 * @property {boolean} rolled Whether what is too bright nears white instead of being clipped.
 */

/**
 * @param {number} azimuth Degrees: 0 from the right, 90 from above.
 * @param {number} elevation Degrees out of the image.
 * @returns {[number, number, number]}
 */
export function direction(azimuth, elevation) {
  const around = azimuth * RADIANS, out = elevation * RADIANS
  return [Math.cos(out) * Math.cos(around), Math.cos(out) * Math.sin(around), Math.sin(out)]
}

/**
 * Where a lamp stands that is seen at a place of the image.
 * @param {number} x Fractions of the image.
 * @param {number} y
 * @param {number} depth
 * @param {{width: number, height: number, intrinsics: number[]}} camera In pixels of the preview.
 * @returns {[number, number, number]}
 */
export function position(x, y, depth, { width, height, intrinsics: [fx, fy, cx, cy] }) {
  return [depth * (x * width - 0.5 - cx) / fx, -depth * (y * height - 0.5 - cy) / fy, -depth]
}

/** @param {number} value Coded sRGB in [0, 1]. @returns {number} Linear light. */
export function linear(value) {
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
}

/** @param {string} name @returns {string | null} #rrggbb of a colour that CSS has a name for; null without a page. */
function named(name) {
  if (!/^[a-z]{3,}$/i.test(name) || typeof document === 'undefined') return null
  const context = document.createElement('canvas').getContext('2d')
  const found = ['#000000', '#ffffff'].map(before => {
    context.fillStyle = before
    context.fillStyle = name
    return context.fillStyle
  })
  return found[0] === found[1] ? found[0] : null
}

/** @param {string} colour #rrggbb, #rgb, a name, or red, green and blue from 0 to 255. @returns {string | null} #rrggbb; null if it says no colour. */
export function hexOf(colour) {
  const said = String(colour).trim().toLowerCase()
  const digits = said.match(/^#([0-9a-f]{3}|[0-9a-f]{6})(?:(?<=.{7})[0-9a-f]{2})?$/)?.[1]
  if (digits) return `#${digits.length === 3 ? [...digits].map(digit => digit + digit).join('') : digits}`
  const levels = said.match(/^(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})$/)?.slice(1).map(Number)
  if (levels) return levels.every(level => level < 256) ? `#${levels.map(level => level.toString(16).padStart(2, '0')).join('')}` : null
  return named(said)
}

/** @param {string} colour As `hexOf`. @returns {[number, number, number] | null} Linear; null if it says no colour. */
export function colourOf(colour) {
  const [red, green, blue] = (hexOf(colour)?.slice(1).match(/../g) ?? []).map(pair => linear(parseInt(pair, 16) / 255))
  return red === undefined ? null : [red, green, blue]
}

/**
 * The light that a node's widgets describe.
 * @param {Record<string, any>} values Of the widgets, by name.
 * @param {{width: number, height: number, intrinsics: number[]}} camera
 * @returns {Lamp}
 */
export function lampOf(values, camera) {
  const isPoint = values.light === 'point'
  return {
    isPoint,
    position: isPoint
      ? position(values.light_x, values.light_y, values.light_depth, camera)
      : direction(values.azimuth, values.elevation),
    colour: colourOf(values.colour) ?? [1, 1, 1],
    intensity: values.intensity,
    size: values.light_size ?? 0,
    shadow: values.shadows,
  }
}

/**
 * Lamps of other nodes, as the server sends them.
 * @param {{position: [number, number, number], is_point: boolean, colour: [number, number, number], intensity: number, size: number, shadow: number | null}[]} sent
 * @param {Record<string, any>} values
 * @returns {Lamp[]}
 */
export function otherLamps(sent, values) {
  return (sent ?? []).map(({ is_point: isPoint, shadow, ...rest }) => ({ ...rest, isPoint, shadow: shadow ?? values.shadows }))
}

/** @param {Record<string, any>} values Of a node's widgets, by name. @returns {Looks} */
export function looksOf(values) {
  return {
    ambient: values.ambient,
    above: colourOf(values.ambient_above) ?? [1, 1, 1],
    below: colourOf(values.ambient_below) ?? [1, 1, 1],
    specular: values.specular,
    shininess: values.shininess,
    exposure: values.exposure ?? 0,
    rolled: values.roll_off !== false,
  }
}

/**
 * Where a directional light's handle is: a globe around the image's middle, seen from the pole. Its middle is light from the viewer, its
 * equator grazing light, beyond it light from behind.
 * @param {{azimuth: number, elevation: number}} values
 * @param {number} aspect Width of the image divided by its height.
 * @returns {{x: number, y: number}} Fractions of the image.
 */
export function handleOf({ azimuth, elevation }, aspect) {
  const way = (90 - elevation) / 90, [right, up] = radii(aspect)
  return { x: 0.5 + right * way * Math.cos(azimuth * RADIANS), y: 0.5 - up * way * Math.sin(azimuth * RADIANS) }
}

/**
 * The angles at a place of the image: the inverse of `handleOf`.
 * @param {{x: number, y: number}} point
 * @param {number} aspect
 * @returns {{azimuth: number, elevation: number}} Whole degrees.
 */
export function anglesAt({ x, y }, aspect) {
  const [right, up] = radii(aspect), across = (x - 0.5) / right, above = (0.5 - y) / up
  const azimuth = Math.round(Math.atan2(above, across) / RADIANS)
  const elevation = Math.round(90 - 90 * Math.hypot(across, above))
  return { azimuth: (azimuth + 360) % 360, elevation: Math.max(-90, elevation) }
}

/** @param {number} aspect @returns {[number, number]} Radii of the equator, as fractions of the image's width and height. */
export function radii(aspect) {
  const radius = 0.46
  return aspect > 1 ? [radius / aspect, radius] : [radius, radius * aspect]
}

/** @param {number} depth @param {number} steps Of a tenth each. @returns {number} As `light_depth` takes it. */
export function depthBy(depth, steps) {
  const moved = Math.max(NEAREST_DEPTH, Math.min(100, depth * 1.1 ** steps))
  return Number(moved.toFixed(moved < 10 ? 3 : 1))
}
