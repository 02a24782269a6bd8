// A node's widgets by name, as views read and set them.

import { translated } from './words.mjs'

/** The widgets of one node; of a subgraph, also those of a node in it that it does not show. */
export class NodeWidgets {
  /** @param {any} node Of LiteGraph. @param {() => void} changed Called after a value was set from here. @param {any} source The node in it. */
  constructor(node, changed = () => {}, source = node) {
    this.node = node
    this.changed = changed
    this.source = source
  }

  /** @param {string} name @returns {boolean} */
  has(name) {
    return Boolean(this.find(name))
  }

  /** @returns {Record<string, any>} */
  get values() {
    // $$: what the page adds, such as the words of a running node
    const own = [...(this.source.widgets ?? []), ...(this.node.widgets ?? [])].filter(widget => !widget.element && !widget.name.startsWith('$$'))
    return Object.fromEntries(own.map(widget => [widget.name, widget.value]))
  }

  /** @param {string} name @returns {boolean} Whether another node provides this value, so that setting it here has no effect. */
  isLinked(name) {
    return isLinked(named(this.node, name) ? this.node : this.source, name)
  }

  /** @param {string[]} names @param {import('./image_view.mjs').ImageView} view Says which. @returns {boolean} Whether one is linked. */
  areGiven(names, view) {
    const given = names.find(name => this.isLinked(name))
    if (given) view.say(translated('{0} comes from another node', this.label(given)))
    return Boolean(given)
  }

  /** @param {Record<string, number | string>} values Each number is brought into its widget's range. */
  set(values) {
    for (const [name, value] of Object.entries(values)) {
      const widget = this.find(name)
      if (!widget || this.isLinked(name)) continue
      const { min = -Infinity, max = Infinity } = widget.options ?? {}
      const within = typeof value === 'string' ? value : Math.min(max, Math.max(min, value))
      if (widget.value === within) continue
      widget.value = within
      widget.callback?.(within, undefined, this.node)
    }
    this.node.setDirtyCanvas?.(true, false)
    this.changed()
  }

  /** @param {string} name @returns {string} Its label in the page. */
  label(name) {
    return this.find(name)?.label || name
  }

  find(name) {
    return named(this.node, name) ?? named(this.source, name)
  }
}

/** @param {any} node @param {string} name Of a widget. @returns {boolean} Whether another node provides its value. */
export const isLinked = (node, name) => (node.inputs ?? []).some((input, slot) => input.widget?.name === name && node.isInputConnected(slot))

function named(node, name) {
  return (node.widgets ?? []).find(widget => widget.name === name)
}
