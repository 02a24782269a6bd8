// The colours of the pack's own sockets and of the links between them, on the canvas and in Nodes 2.0.

import { app } from '../../scripts/app.js'

/** As a normal map shows what faces the viewer; as core shows models; as lamplight. */
export const COLOURS = { DEPTH_NORMAL_GEOMETRY: '#8080ff', DEPTH_NORMAL_MODEL: '#b39ddb', DEPTH_NORMAL_LIGHTS: '#ffd98a' }

/** A colour palette sets every type that it does not name to nothing: then ours stands. */
function colour(table, type, ours) {
  let chosen = table[type]
  Object.defineProperty(table, type, { get: () => chosen || ours, set: value => { chosen = value }, enumerable: true, configurable: true })
}

app.registerExtension({
  name: 'DepthNormal.Colours',
  setup() {
    const sheet = document.createElement('style')
    sheet.textContent = `:root { ${Object.entries(COLOURS).map(([type, ours]) => `--color-datatype-${type}: ${ours};`).join(' ')} }`
    document.head.append(sheet)
    for (const table of [app.canvas.default_connection_color_byType, app.canvas.constructor.link_type_colors]) {
      if (table) for (const [type, ours] of Object.entries(COLOURS)) colour(table, type, ours)
    }
  },
})
