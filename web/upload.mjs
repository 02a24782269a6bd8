// A button below a list of files, and files dropped on its node: they go to ComfyUI's input folder, and the list shows them.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { after } from './nodes.mjs'
import { translated } from './words.mjs'

const UPLOAD = 'depth_normal_upload'
const BUTTON = '$$depth_normal_upload'

/** @param {any} node @returns {[string, string[]] | null} The list's name, and the extensions that it takes. */
function uploadOf(node) {
  const inputs = { ...node.constructor?.nodeData?.input?.required, ...node.constructor?.nodeData?.input?.optional }
  const found = Object.entries(inputs).find(([, input]) => input?.[1]?.[UPLOAD])
  return found ? [found[0], found[1][1][UPLOAD]] : null
}

const isOf = (file, extensions) => extensions.some(each => file.name.toLowerCase().endsWith(each))

function warn(detail) {
  app.extensionManager?.toast?.add({ severity: 'warn', summary: translated('Depth & Normals'), detail, life: 10000 })
}

/** @param {File} file @returns {Promise<string>} Its name in the input folder: another one where that was taken. */
async function send(file) {
  const body = new FormData()
  body.append('image', file)
  body.append('type', 'input')
  const answer = await api.fetchApi('/upload/image', { method: 'POST', body })
  if (!answer.ok) throw new Error(translated('{0} was not uploaded; the server answered: {1}', file.name, `${answer.status} ${answer.statusText}`))
  const { name, subfolder } = await answer.json()
  return subfolder ? `${subfolder}/${name}` : name
}

/** @param {any} node @param {string} list @returns {Promise<string[]>} What the server has to choose from by now. */
async function choices(node, list) {
  const answer = await api.fetchApi(`/object_info/${encodeURIComponent(node.comfyClass)}`)
  const { input } = (await answer.json())[node.comfyClass]
  return (input.required?.[list] ?? input.optional[list])[0]
}

/** @param {any} node @param {string} list @param {string[]} extensions @param {File[]} files The last one is chosen. */
async function upload(node, list, extensions, files) {
  const widget = node.widgets.find(each => each.name === list)
  for (const file of files) {
    try {
      if (!isOf(file, extensions)) throw new Error(translated('{0} was not uploaded; accepted formats: {1}', file.name, extensions.join(', ')))
      const name = await send(file)
      widget.options.values = await choices(node, list)
      if (!widget.options.values.includes(name)) {
        throw new Error(translated(
          '{0} contains no depth or normals that this node can read. For a depth map use Load Image and Depth Image to Geometry.', name,
        ))
      }
      widget.value = name
      widget.callback?.(name, app.canvas, node)
    } catch (error) {
      warn(error.message)
    }
  }
  node.setDirtyCanvas(true, true)
}

/** @param {any} node @param {(files: File[]) => void} take @param {string[]} extensions */
function addButton(node, take, extensions) {
  const input = Object.assign(document.createElement('input'), { type: 'file', accept: extensions.join(','), multiple: true })
  input.style.display = 'none'
  input.dataset.depthNormal = 'upload'
  input.onchange = () => {
    take([...input.files])
    input.value = ''
  }
  document.body.append(input)
  const button = node.addWidget('button', BUTTON, '', () => input.click(), { serialize: false })
  button.label = translated('upload a file')
  button.serialize = false
  after(node, 'onRemoved', () => input.remove())
}

app.registerExtension({
  name: 'DepthNormal.Upload',
  nodeCreated(node) {
    const found = uploadOf(node)
    if (!found) return
    const [list, extensions] = found
    node.widgets.find(each => each.name === list).options.getOptionLabel = value => translated(String(value ?? ''))
    const take = files => upload(node, list, extensions, files)
    addButton(node, take, extensions)
    node.onDragOver = event => [...(event.dataTransfer?.items ?? [])].some(item => item.kind === 'file')
    node.onDragDrop = event => {
      const files = [...(event.dataTransfer?.files ?? [])]
      if (files.length) take(files)
      return files.length > 0
    }
  },
})
