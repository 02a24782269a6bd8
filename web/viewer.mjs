// A result in a page that is not ComfyUI's: one that geometry/files/html_page.py writes, without a server, or that of `depth-normal ui`.

import { namedTiles } from './geometry_view.mjs'
import { ImageView } from './image_view.mjs'
import { LANGUAGES, setLanguage } from './language.mjs'
import { decodePng, joinedMaps } from './maps.mjs'
import { LampMode } from './viewer_lamp.mjs'
import { SliderMode, SolidMode, TilesMode } from './viewer_modes.mjs'
import { translated } from './words.mjs'

/** Sets the page's language to the first of the browser's that there is. @returns {string} */
export function chooseLanguage() {
  const locale = navigator.languages?.map(each => each.split('-')[0]).find(each => each === 'en' || LANGUAGES.includes(each)) ?? 'en'
  setLanguage(locale)
  document.documentElement.lang = locale
  return locale
}

/** Fills a page that has one result. @param {object} payload @param {Places} places As `showResult`. */
export async function openViewer(payload, places) {
  chooseLanguage()
  await showResult(payload, places)
}

/**
 * The elements that a result is shown in.
 * @typedef {Record<'facts' | 'modes' | 'controls' | 'stage', HTMLElement>} Places
 */

/**
 * Shows a result.
 * @param {object} payload As `page_payload` of `geometry/files/html_page.py` makes it: what `pack_maps` says of the maps, `maps` (PNG) and
 *   `image` (JPEG or null) in base64, and `full`, width and height of the result.
 * @param {Places} places They are emptied.
 * @param {{ first?: string, focus?: boolean, more?: any[], Lamp?: any }} [options] The label of the mode to begin with, whether the image takes the focus,
 *   further modes, behind those that need no server, and what takes the place of `LampMode`.
 * @returns {Promise<{ close: () => void, readonly mode: string | undefined }>} `close` ends it and frees the graphics card's memory.
 */
export async function showResult(payload, places, { first, focus = true, more = [], Lamp = LampMode } = {}) {
  let mode, chosen
  const handlers = Object.fromEntries(['grab', 'drag', 'hover', 'wheel', 'arrow', 'escape'].map(name => [name, (...values) => mode?.[name]?.(...values)]))
  const view = new ImageView('', handlers)
  places.modes.replaceChildren()
  places.controls.replaceChildren()
  places.facts.textContent = ''
  places.stage.replaceChildren(view.root)
  const watch = new ResizeObserver(() => mode?.draw())
  const shown = {
    close() {
      watch.disconnect()
      mode?.close()
      mode = null
    },
    get mode() {
      return chosen?.label
    },
  }
  let maps
  try {
    maps = await read(payload)
  } catch (error) {
    view.showEmpty(translated('The image cannot be shown here: {0}', error.message))
    return shown
  }
  if (!places.stage.contains(view.root)) return shown // another one was asked for meanwhile
  const layers = layersOf(maps)
  places.facts.textContent = facts(maps)
  const modes = [TilesMode, ...layers.length > 1 ? [SliderMode] : [], ...maps.depth ? [SolidMode] : [], ...maps.depth && maps.normals ? [Lamp] : [], ...more]
  const buttons = modes.map(Mode => {
    const button = document.createElement('button')
    button.type = 'button'
    button.textContent = Mode.label
    button.addEventListener('click', () => choose(Mode, true))
    return button
  })
  const made = new Map()
  const choose = (Mode, isFocused) => {
    mode?.close()
    chosen = Mode
    if (!made.has(Mode)) made.set(Mode, new Mode(view, maps, layers))
    mode = made.get(Mode)
    buttons.forEach((button, i) => button.setAttribute('aria-pressed', String(modes[i] === Mode)))
    places.controls.replaceChildren(...mode.controls)
    view.say(mode.hint)
    mode.draw()
    if (isFocused) view.stage.focus({ preventScroll: true })
  }
  places.modes.append(...buttons)
  choose(modes.find(({ label }) => label === first) ?? modes[0], focus)
  watch.observe(places.stage)
  return shown
}

async function read(payload) {
  const packed = await decodePng(bytesOf(payload.maps).buffer), width = packed.width, height = packed.height / 2
  const image = payload.image && await createImageBitmap(new Blob([bytesOf(payload.image)], { type: 'image/jpeg' }))
  return joinedMaps(payload, { width, height, image }, packed)
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), letter => letter.charCodeAt(0))
}

/** @returns {import('./viewer_modes.mjs').Layer[]} The image, if there is one, and the maps. */
function layersOf(maps) {
  const { width, height } = maps
  const drawn = (name, paint) => {
    const canvas = Object.assign(document.createElement('canvas'), { width, height })
    paint(canvas.getContext('2d'))
    return { name, canvas }
  }
  const titles = { Depth: translated('Depth'), Normals: translated('Normals'), Mask: translated('Mask') }
  const tiles = Object.entries(namedTiles(maps))
  const image = maps.image ? [drawn(translated('Image'), context => context.drawImage(maps.image, 0, 0, width, height))] : []
  return [...image, ...tiles.map(([name, rgba]) => drawn(titles[name], context => context.putImageData(new ImageData(rgba, width, height), 0, 0)))]
}

/** Size of the result, and the range of its depth, if any pixel has one. */
function facts({ full, payload: { depth }, depth: values }) {
  const size = `${full[0]} × ${full[1]}`
  if (!values?.some(value => !Number.isNaN(value))) return size
  if (depth.quantity !== 'metric_depth') return `${size} · ${translated(depth.quantity.replaceAll('_', ' '))}`
  const [low, high] = [depth.low, depth.high].map(end => Number(Math.exp(end).toPrecision(3)))
  return `${size} · ${translated('{0} to {1} m', low, high)}`
}
