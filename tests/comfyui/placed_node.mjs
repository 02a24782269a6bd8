// Where a node stands on ComfyUI's page, for the drivers beside this file.

/**
 * Brings a node into the middle of the page.
 * @param {import('playwright-core').Page} page
 * @param {string} finder A function of the page that gives the node, by its name in `window`.
 * @param {number} scale How large the canvas shows it.
 * @param {number} bottom Where its lower end comes, in pixels of the page.
 */
export function placeNode(page, finder, scale, bottom) {
  return page.evaluate(([finder, scale, bottom]) => {
    const { ds } = window.app.canvas, node = window[finder]()
    ds.scale = scale
    ds.offset[0] = 800 / scale - node.pos[0] - node.size[0] / 2
    ds.offset[1] = bottom / scale - node.pos[1] - node.size[1]
    window.app.canvas.setDirty(true, true)
  }, [finder, scale, bottom])
}
