// Maps of one size side by side: how many columns, and which tile a point is on. Plain numbers: no page is needed.

/**
 * The number of columns that shows tiles largest.
 * @param {number} count Of tiles.
 * @param {{width: number, height: number}} tile
 * @param {{width: number, height: number}} area That they are fitted into.
 * @returns {number} 1 to count; count where the area is empty.
 */
export function bestColumns(count, tile, { width, height }) {
  const scale = columns => Math.min(width / columns / tile.width, height / Math.ceil(count / columns) / tile.height)
  if (!width || !height) return count
  return Array.from({ length: count }, (_, i) => count - i).reduce((best, columns) => scale(columns) > scale(best) ? columns : best)
}

/** First column and row of a tile in pixels. @param {number} place @param {number} columns @param {{width: number, height: number}} tile */
export function cornerOf(place, columns, tile) {
  return { left: place % columns * tile.width, top: Math.floor(place / columns) * tile.height }
}

/**
 * Converts a point on the tiles to one of the image.
 * @param {{x: number, y: number}} point Fractions of all tiles.
 * @param {number} count
 * @param {number} columns
 * @returns {{x: number, y: number} | null} Fractions of the image; null where no tile is.
 */
export function onTile({ x, y }, count, columns) {
  const across = x * columns, down = y * Math.ceil(count / columns)
  return Math.floor(down) * columns + Math.floor(across) < count ? { x: across % 1, y: down % 1 } : null
}

/**
 * Frames the same point on each tile.
 * @param {CanvasRenderingContext2D} context
 * @param {{x: number, y: number}} point Fractions of the image.
 * @param {number} count
 * @param {number} columns
 * @param {{width: number, height: number}} tile
 * @param {number} size Half a frame's side in pixels.
 */
export function markTiles(context, point, count, columns, tile, size) {
  context.strokeStyle = '#f40'
  context.lineWidth = size / 2
  for (let place = 0; place < count; place++) {
    const { left, top } = cornerOf(place, columns, tile)
    context.strokeRect(left + point.x * tile.width - size, top + point.y * tile.height - size, 2 * size, 2 * size)
  }
}
