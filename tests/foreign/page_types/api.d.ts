// What ComfyUI's page gives its extensions of its server.

import type { ComfyApi } from '@comfyorg/comfyui-frontend-types'

export declare const api: Omit<ComfyApi, 'addEventListener' | 'dispatchCustomEvent'> & {
  addEventListener(name: string, heard: (event: CustomEvent) => unknown): void
  dispatchCustomEvent(name: string, detail?: any): boolean
}
