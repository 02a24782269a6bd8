// What the page's node search finds of this pack: in which order, and also what no menu lists.

import { app } from '../../scripts/app.js'
import { onlyInSearch } from './old_ids.mjs'
import { inOrder, wantedBy } from './search_order.mjs'

app.registerExtension({
  name: 'DepthNormal.Search',
  setup() {
    // The page has no way for packs to rank their nodes. Where its search is made otherwise, its own order stays.
    const store = app.extensionManager?._p?._s?.get('nodeDef'), service = store?.nodeSearchService
    const methods = service && Object.getPrototypeOf(service), search = methods?.searchNode
    if (typeof search !== 'function') return
    let listed, whole
    const withUnlisted = ({ constructor: Service }) => {
      if (listed !== store.visibleNodeDefs) {
        listed = store.visibleNodeDefs
        whole = new Service([...listed, ...Object.values(store.nodeDefsByName).filter(node => onlyInSearch.has(node.name))])
      }
      return whole
    }
    methods.searchNode = function (query, filters, options, ...rest) {
      const service = withUnlisted(this)
      if (!wantedBy(query)) return search.call(service, query, filters, options, ...rest)
      // Without the limit, which would cut the wanted node off before it is moved.
      const found = search.call(service, query, filters, { ...options, limit: undefined }, ...rest)
      return Array.isArray(found) ? inOrder(found, query).slice(0, options?.limit || undefined) : found
    }
  },
})
