// The order in which the page's node search finds this pack's nodes.

import { app } from '../../scripts/app.js'
import { inOrder, wantedBy } from './search_order.js'

app.registerExtension({
  name: 'DepthNormal.Search',
  setup() {
    // The page has no way for packs to rank their nodes. Where its search is made otherwise, its own order stays.
    const service = app.extensionManager?._p?._s?.get('nodeDef')?.nodeSearchService
    const methods = service && Object.getPrototypeOf(service), search = methods?.searchNode
    if (typeof search !== 'function') return
    methods.searchNode = function (query, filters, options, ...rest) {
      if (!wantedBy(query)) return search.call(this, query, filters, options, ...rest)
      // Without the limit, which would cut the wanted node off before it is moved.
      const found = search.call(this, query, filters, { ...options, limit: undefined }, ...rest)
      return Array.isArray(found) ? inOrder(found, query).slice(0, options?.limit || undefined) : found
    }
  },
})
