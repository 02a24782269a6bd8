// What ComfyUI's page gives its extensions: its published types, and what they leave out.

import type { ComfyApp, ComfyExtension } from '@comfyorg/comfyui-frontend-types'

type PublishedNode = Parameters<ComfyExtension['nodeCreated']>[0]

type Node = PublishedNode & {
  constructor: { nodeData?: any; comfyClass?: string }
  subgraph?: any
  onDragOver?(event: DragEvent): boolean
  onDragDrop?(event: DragEvent): boolean
}

type Extension = Omit<ComfyExtension, 'nodeCreated' | 'settings'> & { nodeCreated?(node: Node): void; settings?: any[] }

type Published = Omit<ComfyApp, 'registerExtension' | 'extensionManager' | 'canvas' | 'nodeOutputs' | 'rootGraph' | 'graph' | 'loadGraphData'>

export declare const app: Published & {
  registerExtension(extension: Extension): void
  canvas: ComfyApp['canvas'] & { constructor: { link_type_colors?: Record<string, string> } }
  nodeOutputs: Record<string, any>
  rootGraph: any
  graph: any
  loadGraphData(...given: any[]): Promise<unknown>
  /** With the stores behind it. */
  extensionManager: ComfyApp['extensionManager'] & { _p?: { _s?: Map<string, any> } }
}

declare global {
  interface Window {
    LiteGraph: any
  }
}
